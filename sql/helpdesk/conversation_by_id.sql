-- helpdesk.conversation_by_id: while it waits for every expert
SELECT {conversation}
FROM conversations c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
WHERE c.id = ? AND (
    c.initiator_id = ? OR c.assigned_expert_id = ?
    OR (c.status = 'waiting' AND EXISTS (SELECT 1 FROM expert_profiles p JOIN users u ON u.id = p.user_id WHERE p.user_id = ?))
)
