-- helpdesk.queue_list: one statement is one snapshot, so a claim shows on both sides or on neither
SELECT q.is_assigned, c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread,
    c.unread_from_initiator, c.unread_from_expert
FROM (
    (SELECT FALSE AS is_assigned, id FROM conversations WHERE status = 'waiting' ORDER BY created_at, id LIMIT 100)
    UNION ALL
    (SELECT TRUE, id FROM conversations WHERE assigned_expert_id = ? AND status = 'active'
        ORDER BY updated_at DESC, id DESC LIMIT ?)
) q
JOIN conversations c ON c.id = q.id
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
ORDER BY q.is_assigned, IF(q.is_assigned, NULL, c.created_at), IF(q.is_assigned, NULL, c.id), c.updated_at DESC, c.id DESC
