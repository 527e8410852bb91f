-- helpdesk.message_at
SELECT created_at FROM messages WHERE id = ? AND conversation_id = ?
