-- feed.purge_lock: the lock is the connection's and goes with it
SELECT GET_LOCK(CONCAT('hyperdesk.feed.purge.', DATABASE()), 0)
