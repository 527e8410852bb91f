-- feed.runs
SELECT seq, first, after_at, at, body FROM runs WHERE seq > ? ORDER BY seq LIMIT 16
