-- feed.look: whether the server still takes writes, and what came after a place, of one snapshot: the head, what has no number, and the runs, as many changes as one may have and no more than 8 MiB if that is more than one run
SELECT h.seq, h.at, NOW(6), CAST(@@global.read_only AS CHAR) NOT IN ('0', 'OFF') OR @@global.innodb_read_only,
    (SELECT MIN(id) FROM outbox), (SELECT MAX(id) FROM outbox),
    r.seq, r.first, r.after_at, r.at, r.bytes, r.body
FROM feed_head h
LEFT JOIN runs r ON r.seq > ? AND r.seq <= ? AND (r.bytes <= ? + 8388608 OR r.first = ?)
WHERE h.id = 1
