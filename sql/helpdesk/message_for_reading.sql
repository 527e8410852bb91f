-- helpdesk.message_for_reading
SELECT m.conversation_id, m.sender_id
FROM messages m
JOIN conversations c ON c.id = m.conversation_id
WHERE m.id = ? AND (c.initiator_id = ? OR c.assigned_expert_id = ?)
