-- helpdesk.conversation_resolve
UPDATE conversations
SET status = 'resolved', updated_at = GREATEST(NOW(6), updated_at + INTERVAL 1 MICROSECOND)
WHERE id = ? AND status = 'active' AND assigned_expert_id = ?
