-- helpdesk.assigned_64
SELECT {conversation},
    ahead.conversation_id IS NOT NULL
FROM (
    SELECT id, ROW_NUMBER() OVER (PARTITION BY assigned_expert_id ORDER BY updated_at DESC, id DESC) AS place
    FROM conversations
    WHERE assigned_expert_id IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) AND status = 'active'
) ranked
JOIN conversations c ON c.id = ranked.id
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
{ahead}
WHERE ranked.place <= 1000
ORDER BY c.updated_at DESC, c.id DESC
