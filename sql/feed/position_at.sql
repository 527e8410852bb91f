-- feed.position_at
SELECT at FROM events WHERE seq = ?
