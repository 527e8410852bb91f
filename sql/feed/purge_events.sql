-- feed.purge_events
DELETE FROM events WHERE at < NOW(6) - INTERVAL ? SECOND ORDER BY at LIMIT 500
