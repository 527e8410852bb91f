-- helpdesk.conversation_by_id: while it waits for every expert
SELECT c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread,
    c.unread_from_initiator, c.unread_from_expert,
    IF(c.message_counted_at <=> c.last_message_at, c.message_count,
        (SELECT COUNT(*) FROM messages n WHERE n.conversation_id = c.id))
FROM conversations c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
WHERE c.id = ? AND (
    c.initiator_id = ? OR c.assigned_expert_id = ?
    OR (c.status = 'waiting' AND EXISTS (SELECT 1 FROM expert_profiles p JOIN users u ON u.id = p.user_id WHERE p.user_id = ?))
)
