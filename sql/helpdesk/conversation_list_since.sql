-- helpdesk.conversation_list_since: each side's, for whoever takes both together; picked as in conversation_list
SELECT {conversation}
FROM (
    (SELECT * FROM conversations WHERE initiator_id = ? AND updated_at > ? ORDER BY updated_at, id LIMIT ?)
    UNION ALL
    (SELECT * FROM conversations WHERE assigned_expert_id = ? AND updated_at > ? ORDER BY updated_at, id LIMIT ?)
) c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
