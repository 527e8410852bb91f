-- feed.look
SELECT h.seq, h.at, NOW(6), EXISTS (SELECT 1 FROM outbox) FROM feed_head h WHERE h.id = 1
