-- helpdesk.conversation_bump
UPDATE conversations
SET updated_at = GREATEST(NOW(6), updated_at + INTERVAL 1 MICROSECOND), last_message_at = updated_at,
    unread = unread + 1,
    unread_from_initiator = unread_from_initiator + (initiator_id = ?),
    unread_from_expert = unread_from_expert + (assigned_expert_id <=> ?)
WHERE id = ? AND (initiator_id = ? OR assigned_expert_id = ?)
