-- feed.sequence: all depends on what a locking read put into a variable, and on no reply, which a dead client takes no more (src/feed/sequencer.rs)
START TRANSACTION;
SET @feed_at = NULL;
SELECT GREATEST(NOW(6), at + INTERVAL 1 MICROSECOND) + INTERVAL ? - 1 MICROSECOND INTO @feed_at
FROM feed_head WHERE id = 1 AND seq = ? AND at = ? FOR UPDATE;
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
UPDATE feed_head SET seq = seq + ?, at = @feed_at WHERE id = 1 AND @feed_at IS NOT NULL;
COMMIT;
SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', @feed_at)
