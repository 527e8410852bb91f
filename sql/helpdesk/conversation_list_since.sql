-- helpdesk.conversation_list_since: each side's, for whoever takes both together
(SELECT c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
        c.created_at, c.updated_at, c.last_message_at, c.unread,
        c.unread_from_initiator, c.unread_from_expert,
        IF(c.message_counted_at <=> c.last_message_at, c.message_count,
            (SELECT COUNT(*) FROM messages n WHERE n.conversation_id = c.id))
    FROM conversations c
    STRAIGHT_JOIN users i ON i.id = c.initiator_id
    LEFT JOIN users x ON x.id = c.assigned_expert_id
    WHERE c.initiator_id = ? AND c.updated_at > ? ORDER BY c.updated_at, c.id LIMIT ?)
UNION ALL
(SELECT c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
        c.created_at, c.updated_at, c.last_message_at, c.unread,
        c.unread_from_initiator, c.unread_from_expert,
        IF(c.message_counted_at <=> c.last_message_at, c.message_count,
            (SELECT COUNT(*) FROM messages n WHERE n.conversation_id = c.id))
    FROM conversations c
    STRAIGHT_JOIN users i ON i.id = c.initiator_id
    LEFT JOIN users x ON x.id = c.assigned_expert_id
    WHERE c.assigned_expert_id = ? AND c.updated_at > ? ORDER BY c.updated_at, c.id LIMIT ?)
