-- helpdesk.lease_list_over: whose expert has not asked, nor claimed it, nor written in it for so long. Counts, as NOT EXISTS would read all messages there are into a table (MariaDB)
SELECT c.id, c.assigned_expert_id
FROM conversations c
LEFT JOIN users u ON u.id = c.assigned_expert_id
WHERE c.status = 'active' AND c.assigned_expert_id IS NOT NULL
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
LIMIT 100
