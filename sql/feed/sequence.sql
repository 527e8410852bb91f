-- feed.sequence: sent whole in one packet, so that the server goes through it whatever becomes of the client
START TRANSACTION;
SELECT seq FROM feed_head WHERE id = 1 FOR UPDATE NOWAIT;
SELECT CONCAT('[', GROUP_CONCAT(id ORDER BY id), ']') INTO @feed_ids
FROM (SELECT id FROM events WHERE seq IS NULL ORDER BY id LIMIT 500) unnumbered;
UPDATE feed_head h
STRAIGHT_JOIN JSON_TABLE(@feed_ids, '$[*]' COLUMNS (place FOR ORDINALITY, id BIGINT PATH '$')) n
STRAIGHT_JOIN events e FORCE INDEX (PRIMARY) ON e.id = n.id
SET e.seq = h.seq + n.place,
    e.at = GREATEST(NOW(6), h.at + INTERVAL 1 MICROSECOND) + INTERVAL (n.place - 1) MICROSECOND
WHERE h.id = 1;
SELECT seq, at INTO @feed_seq, @feed_at FROM events WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1;
UPDATE feed_head SET seq = @feed_seq, at = @feed_at WHERE id = 1 AND seq < @feed_seq;
COMMIT;
SELECT seq FROM feed_head WHERE id = 1
