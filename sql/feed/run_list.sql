-- feed.run_list
SELECT seq, first, after_at FROM runs WHERE seq > ? ORDER BY seq
