-- feed.purge_bound: the times grow with the numbers, so the oldest are found without an index of the times. The newest stays: by its time each instance knows its history
SELECT MAX(seq)
FROM (SELECT seq, at FROM events ORDER BY seq LIMIT 500) oldest
WHERE at < NOW(6) - INTERVAL ? SECOND AND seq < (SELECT seq FROM feed_head WHERE id = 1)
