-- feed.look: where the head is, and what has no number: the order does not matter
SELECT h.seq, h.at, NOW(6), o.id FROM feed_head h LEFT JOIN outbox o ON TRUE WHERE h.id = 1 LIMIT 500
