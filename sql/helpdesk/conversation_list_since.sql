-- helpdesk.conversation_list_since
SELECT c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread,
    c.unread_from_initiator, c.unread_from_expert
FROM (
    (SELECT id FROM conversations WHERE initiator_id = ? AND updated_at > ? ORDER BY updated_at, id LIMIT ?)
    UNION
    (SELECT id FROM conversations WHERE assigned_expert_id = ? AND updated_at > ? ORDER BY updated_at, id LIMIT ?)
) mine
JOIN conversations c ON c.id = mine.id
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
ORDER BY c.updated_at, c.id
LIMIT ?
