-- helpdesk.conversation_by_id
SELECT c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread,
    c.unread_from_initiator, c.unread_from_expert
FROM conversations c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
WHERE c.id = ? AND (c.initiator_id = ? OR c.assigned_expert_id = ?)
