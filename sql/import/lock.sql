-- import.lock: the lock is the connection's and goes with it; MySQL's names have 64 characters
SELECT GET_LOCK(CONCAT('hyperdesk.import.', LEFT(SHA2(DATABASE(), 256), 32)), 0)
