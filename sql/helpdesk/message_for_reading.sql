-- helpdesk.message_for_reading: only for a reader who is there
SELECT m.conversation_id, m.sender_id
FROM messages m
JOIN conversations c ON c.id = m.conversation_id
JOIN users u ON u.id = ?
WHERE m.id = ? AND (c.initiator_id = u.id OR c.assigned_expert_id = u.id)
