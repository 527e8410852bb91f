-- feed.head
SELECT h.seq, h.epoch, h.at, (SELECT MIN(e.seq) FROM events e) FROM feed_head h WHERE h.id = 1
