-- feed.purge_bound: times and bytes grow with the numbers, so the oldest are found without an index of them. The newest run stays: by its time each instance knows its history
SELECT MAX(oldest.seq)
FROM (SELECT seq, at, bytes FROM runs ORDER BY seq LIMIT 500) oldest
JOIN feed_head h ON h.id = 1
JOIN runs newest ON newest.seq = h.seq
WHERE oldest.seq < h.seq
    AND (oldest.at < NOW(6) - INTERVAL ? SECOND OR oldest.seq + ? < h.seq OR oldest.bytes + ? < newest.bytes)
