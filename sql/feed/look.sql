-- feed.look
SELECT h.seq, h.epoch, EXISTS (SELECT 1 FROM outbox) FROM feed_head h WHERE h.id = 1
