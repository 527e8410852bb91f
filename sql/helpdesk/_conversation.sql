c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread, c.unread_from_initiator, c.unread_from_expert,
    IF(c.message_counted_at <=> c.last_message_at, c.message_count,
        (SELECT COUNT(*) FROM messages n WHERE n.conversation_id = c.id))