-- helpdesk.message_list_since
SELECT m.id, m.conversation_id, m.sender_id, sender.username, m.sender_role, m.content, m.created_at, m.is_read
FROM (
    SELECT id FROM conversations WHERE initiator_id = ? AND updated_at > ?
    UNION
    SELECT id FROM conversations WHERE assigned_expert_id = ? AND updated_at > ?
) mine
JOIN messages m ON m.conversation_id = mine.id AND m.created_at > ?
JOIN users sender ON sender.id = m.sender_id
ORDER BY m.created_at, m.id
LIMIT ?
