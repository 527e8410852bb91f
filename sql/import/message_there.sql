-- import.message_there: what is here already
SELECT id, conversation_id, sender_id, sender_role, content, is_read, created_at, updated_at
FROM messages
WHERE id BETWEEN ? AND ?
