-- helpdesk.conversation_list_since: each side's, for whoever takes both together; picked as in conversation_list
SELECT c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread,
    c.unread_from_initiator, c.unread_from_expert,
    IF(c.message_counted_at <=> c.last_message_at, c.message_count,
        (SELECT COUNT(*) FROM messages n WHERE n.conversation_id = c.id))
FROM (
    (SELECT * FROM conversations WHERE initiator_id = ? AND updated_at > ? ORDER BY updated_at, id LIMIT ?)
    UNION ALL
    (SELECT * FROM conversations WHERE assigned_expert_id = ? AND updated_at > ? ORDER BY updated_at, id LIMIT ?)
) c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
