-- helpdesk.conversation_bump
UPDATE conversations
SET message_count = message_count + (message_counted_at <=> last_message_at),
    message_counted_at = IF(message_counted_at <=> last_message_at,
        GREATEST(NOW(6), updated_at + INTERVAL 1 MICROSECOND), message_counted_at),
    updated_at = GREATEST(NOW(6), updated_at + INTERVAL 1 MICROSECOND), last_message_at = updated_at,
    unread = unread + 1,
    unread_from_initiator = unread_from_initiator + (initiator_id = ?),
    unread_from_expert = unread_from_expert + (assigned_expert_id <=> ?)
WHERE id = ? AND (initiator_id = ? OR assigned_expert_id = ?);
SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', c.last_message_at), c.initiator_id = u.id, u.username,
    c.message_counted_at <=> c.last_message_at
FROM conversations c
JOIN users u ON u.id = ?
WHERE c.id = ? AND (c.initiator_id = u.id OR c.assigned_expert_id = u.id)
