-- feed.sequence: all depends on what a locking read put into a variable, and on no reply, which a dead client takes no more (src/feed/sequencer.rs)
START TRANSACTION;
SET @feed_at = NULL;
SELECT GREATEST(NOW(6), at + INTERVAL 1 MICROSECOND) + INTERVAL ? - 1 MICROSECOND INTO @feed_at
FROM feed_head WHERE id = 1 AND seq = ? AND at = ? FOR UPDATE;
INSERT INTO runs (seq, first, after_at, at, bytes, body)
SELECT ?, ?, ?, @feed_at, ?, ? FROM DUAL WHERE @feed_at IS NOT NULL;
DELETE o
FROM JSON_TABLE('[?]', '$[*]' COLUMNS (id BIGINT PATH '$')) n
STRAIGHT_JOIN outbox o FORCE INDEX (PRIMARY) ON o.id = n.id
WHERE @feed_at IS NOT NULL;
UPDATE feed_head SET seq = seq + ?, at = @feed_at WHERE id = 1 AND @feed_at IS NOT NULL;
COMMIT;
SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', @feed_at)
