-- feed.sequence
START TRANSACTION;
UPDATE feed_head
SET seq = seq + ?, at = GREATEST(NOW(6), at + INTERVAL 1 MICROSECOND) + INTERVAL ? - 1 MICROSECOND
WHERE id = 1 AND epoch = ? AND seq = ?;
SELECT IF(ROW_COUNT() = 1, (SELECT at FROM feed_head WHERE id = 1), NULL) INTO @feed_at;
INSERT INTO events (seq, at, id, kind, conversation_id, message_id, expert_id, sid, sid_expires_at)
SELECT ? + n.place, @feed_at - INTERVAL ? - n.place MICROSECOND,
    o.id, o.kind, o.conversation_id, o.message_id, o.expert_id, o.sid, o.sid_expires_at
FROM JSON_TABLE('[?]', '$[*]' COLUMNS (place FOR ORDINALITY, id BIGINT PATH '$')) n
STRAIGHT_JOIN outbox o FORCE INDEX (PRIMARY) ON o.id = n.id
WHERE @feed_at IS NOT NULL;
DELETE o
FROM JSON_TABLE('[?]', '$[*]' COLUMNS (id BIGINT PATH '$')) n
STRAIGHT_JOIN outbox o FORCE INDEX (PRIMARY) ON o.id = n.id
WHERE @feed_at IS NOT NULL;
COMMIT;
SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', @feed_at)
