-- import.lock: waits while the server finds out that an import was killed; the lock is the connection's and goes with it, and MySQL's names have 64 characters
SELECT GET_LOCK(CONCAT('hyperdesk.import.', LEFT(SHA2(DATABASE(), 256), 32)), 10)
