-- helpdesk.conversation_is_readable: while it waits by every expert
SELECT c.id
FROM conversations c
WHERE c.id = ? AND (
    c.initiator_id = ? OR c.assigned_expert_id = ?
    OR (c.status = 'waiting' AND EXISTS (SELECT 1 FROM expert_profiles p JOIN users u ON u.id = p.user_id WHERE p.user_id = ?))
)
