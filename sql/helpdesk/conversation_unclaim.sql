-- helpdesk.conversation_unclaim
UPDATE conversations
SET status = 'waiting', assigned_expert_id = NULL, unread_from_expert = 0,
    updated_at = GREATEST(NOW(6), updated_at + INTERVAL 1 MICROSECOND)
WHERE id = ? AND status = 'active' AND assigned_expert_id = ?
