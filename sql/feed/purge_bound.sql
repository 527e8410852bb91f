-- feed.purge_bound: the times grow with the numbers, so the oldest are found without an index of the times. The newest run stays: by its time each instance knows its history
SELECT MAX(oldest.seq)
FROM (SELECT seq, at FROM runs ORDER BY seq LIMIT 500) oldest
JOIN feed_head h ON h.id = 1
WHERE oldest.seq < h.seq AND (oldest.at < NOW(6) - INTERVAL ? SECOND OR oldest.seq + ? < h.seq)
