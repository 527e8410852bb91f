-- feed.tail: one statement is one snapshot, which the freshness of what was read rests on (src/feed/tail.rs)
SELECT h.seq, h.epoch, EXISTS (SELECT 1 FROM events u WHERE u.seq IS NULL),
    e.seq, e.id, e.at, e.kind, e.conversation_id, e.message_id, e.initiator_id, e.expert_id,
    e.former_expert_id, e.sid, e.sid_expires_at,
    m.sender_id, s.username, m.sender_role, m.content, m.is_read, m.created_at
FROM feed_head h
LEFT JOIN events e ON e.seq > ? AND e.seq <= ?
LEFT JOIN messages m ON m.id = e.message_id
LEFT JOIN users s ON s.id = m.sender_id
WHERE h.id = 1
