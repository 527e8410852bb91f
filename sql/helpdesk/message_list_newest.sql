-- helpdesk.message_list_newest
SELECT m.id, m.conversation_id, m.sender_id, sender.username, m.sender_role, m.content, m.created_at, m.is_read
FROM (
    SELECT m.id
    FROM (
        SELECT id FROM conversations WHERE initiator_id = ?
        UNION
        SELECT id FROM conversations WHERE assigned_expert_id = ?
    ) mine
    JOIN messages m ON m.conversation_id = mine.id
    ORDER BY m.created_at DESC, m.id DESC
    LIMIT ?
) newest
JOIN messages m ON m.id = newest.id
JOIN users sender ON sender.id = m.sender_id
ORDER BY m.created_at, m.id
