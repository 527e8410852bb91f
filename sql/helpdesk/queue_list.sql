-- helpdesk.queue_list: one statement is one snapshot, so a claim shows on both sides or on neither
-- Without the hints the LIMIT makes the index of the order look cheap, and all of an expert's past is gone through.
(SELECT FALSE, c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
        c.created_at, c.updated_at, c.last_message_at, c.unread,
        c.unread_from_initiator, c.unread_from_expert,
        IF(c.message_counted_at <=> c.last_message_at, c.message_count,
            (SELECT COUNT(*) FROM messages n WHERE n.conversation_id = c.id))
    FROM conversations c FORCE INDEX (conversations_status)
    STRAIGHT_JOIN users i ON i.id = c.initiator_id
    LEFT JOIN users x ON x.id = c.assigned_expert_id
    WHERE c.status = 'waiting' ORDER BY c.created_at, c.id LIMIT 100)
UNION ALL
(SELECT TRUE, c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
        c.created_at, c.updated_at, c.last_message_at, c.unread,
        c.unread_from_initiator, c.unread_from_expert,
        IF(c.message_counted_at <=> c.last_message_at, c.message_count,
            (SELECT COUNT(*) FROM messages n WHERE n.conversation_id = c.id))
    FROM conversations c FORCE INDEX (conversations_expert_status)
    STRAIGHT_JOIN users i ON i.id = c.initiator_id
    LEFT JOIN users x ON x.id = c.assigned_expert_id
    WHERE c.assigned_expert_id = ? AND c.status = 'active' ORDER BY c.updated_at DESC, c.id DESC LIMIT ?)
