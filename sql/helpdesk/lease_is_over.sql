-- helpdesk.lease_is_over: asked once the row is locked, in a statement of its own, which sees what was committed before
SELECT c.id, c.assigned_expert_id
FROM conversations c
LEFT JOIN users u ON u.id = c.assigned_expert_id
WHERE c.id = ? AND c.status = 'active' AND c.assigned_expert_id IS NOT NULL
    AND (u.last_active_at IS NULL OR u.last_active_at < NOW(6) - INTERVAL ? MICROSECOND)
    AND (
        SELECT COUNT(*) FROM expert_assignments a
        WHERE a.conversation_id = c.id AND a.status = 'active' AND a.expert_id = c.assigned_expert_id
            AND a.assigned_at >= NOW(6) - INTERVAL ? MICROSECOND
    ) = 0
    AND (
        SELECT COUNT(*) FROM messages m
        WHERE m.conversation_id = c.id AND m.sender_id = c.assigned_expert_id
            AND m.created_at >= NOW(6) - INTERVAL ? MICROSECOND
    ) = 0
