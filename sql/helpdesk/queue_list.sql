-- helpdesk.queue_list: one statement is one snapshot, so a claim shows on both sides or on neither
SELECT q.is_assigned, c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, COUNT(u.id),
    CAST(COALESCE(SUM(u.sender_id = c.initiator_id), 0) AS UNSIGNED),
    CAST(COALESCE(SUM(u.sender_id = c.assigned_expert_id), 0) AS UNSIGNED)
FROM (
    (SELECT FALSE AS is_assigned, id FROM conversations WHERE status = 'waiting' ORDER BY created_at, id LIMIT 100)
    UNION ALL
    (SELECT TRUE, id FROM conversations WHERE assigned_expert_id = ? AND status = 'active'
        ORDER BY updated_at DESC, id DESC LIMIT ?)
) q
JOIN conversations c ON c.id = q.id
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
LEFT JOIN messages u ON u.conversation_id = c.id AND u.is_read = 0
GROUP BY q.is_assigned, c.id
ORDER BY q.is_assigned, IF(q.is_assigned, NULL, c.created_at), IF(q.is_assigned, NULL, c.id), c.updated_at DESC, c.id DESC
