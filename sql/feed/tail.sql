-- feed.tail: one statement is one snapshot, which the freshness of what was read rests on (src/feed/tail.rs)
SELECT h.seq, h.at, NOW(6), (SELECT a.at FROM events a WHERE a.seq = ?),
    e.seq, e.id, e.at, e.kind, e.conversation_id, e.message_id, e.expert_id,
    m.sender_id, s.username, m.sender_role, m.content, m.is_read, m.created_at,
    c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread, c.unread_from_initiator, c.unread_from_expert,
    IF(c.message_counted_at <=> c.last_message_at, c.message_count,
        (SELECT COUNT(*) FROM messages n WHERE n.conversation_id = c.id))
FROM feed_head h
LEFT JOIN (
    SELECT seq, at, id, kind, conversation_id, message_id, expert_id,
        message_id AS shown_message, conversation_id AS shown_conversation
    FROM events WHERE seq > ? AND seq <= ?
    UNION ALL (
        SELECT NULL, NULL, id, kind, conversation_id, message_id, expert_id,
            IF(?, message_id, NULL), IF(?, conversation_id, NULL)
        FROM outbox ORDER BY id LIMIT 500
    )
) e ON TRUE
LEFT JOIN messages m ON m.id = e.shown_message
LEFT JOIN users s ON s.id = m.sender_id
LEFT JOIN conversations c ON c.id = e.shown_conversation
LEFT JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
WHERE h.id = 1
