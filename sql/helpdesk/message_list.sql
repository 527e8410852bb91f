-- helpdesk.message_list
SELECT m.id, m.conversation_id, m.sender_id, sender.username, m.sender_role, m.content, m.created_at, m.is_read
FROM (
    SELECT id FROM messages WHERE conversation_id = ? ORDER BY created_at DESC, id DESC LIMIT ?
) newest
JOIN messages m ON m.id = newest.id
JOIN users sender ON sender.id = m.sender_id
ORDER BY m.created_at, m.id
