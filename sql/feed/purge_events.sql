-- feed.purge_events
DELETE FROM events WHERE seq <= ? ORDER BY seq LIMIT 500
