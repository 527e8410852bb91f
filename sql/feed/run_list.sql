-- feed.run_list
SELECT seq, first, after_at, at, bytes, '' FROM runs WHERE seq > ? ORDER BY seq
