-- helpdesk.message_by_id
SELECT m.id, m.conversation_id, m.sender_id, sender.username, m.sender_role, m.content, m.created_at, m.is_read
FROM messages m
JOIN users sender ON sender.id = m.sender_id
WHERE m.id = ?
