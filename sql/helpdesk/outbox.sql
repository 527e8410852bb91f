-- helpdesk.outbox: what is to be numbered, the first so many, with its messages and conversations; one statement is one snapshot
SELECT h.seq, h.at, NOW(6), (SELECT MAX(id) FROM outbox), e.id, e.kind, e.conversation_id, e.expert_id,
    m.id, m.conversation_id, m.sender_id, COALESCE(s.username, ''), m.sender_role, m.content, m.created_at, m.is_read,
    {conversation}
FROM feed_head h
LEFT JOIN (
    SELECT id, kind, conversation_id, message_id, expert_id FROM outbox ORDER BY id LIMIT ?
) e ON TRUE
LEFT JOIN messages m ON m.id = e.message_id
LEFT JOIN users s ON s.id = m.sender_id
LEFT JOIN conversations c ON c.id = e.conversation_id
LEFT JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
WHERE h.id = 1
