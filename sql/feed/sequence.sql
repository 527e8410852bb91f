-- feed.sequence: sent whole in one packet, so that the server goes through it whatever becomes of the client
START TRANSACTION;
SELECT seq FROM feed_head WHERE id = 1 FOR UPDATE NOWAIT;
INSERT INTO events (id, kind, seq, at)
SELECT e.id, e.kind, h.seq + e.place,
    GREATEST(NOW(6), h.at + INTERVAL 1 MICROSECOND) + INTERVAL (e.place - 1) MICROSECOND
FROM feed_head h
JOIN (SELECT n.id, n.kind, ROW_NUMBER() OVER (ORDER BY n.id) AS place
      FROM (SELECT id, kind FROM events WHERE seq IS NULL ORDER BY id LIMIT 500) n) e
WHERE h.id = 1
ON DUPLICATE KEY UPDATE seq = VALUES(seq), at = VALUES(at);
SELECT seq, at INTO @feed_seq, @feed_at FROM events WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1;
UPDATE feed_head SET seq = @feed_seq, at = @feed_at WHERE id = 1 AND seq < @feed_seq;
COMMIT;
SELECT seq FROM feed_head WHERE id = 1
