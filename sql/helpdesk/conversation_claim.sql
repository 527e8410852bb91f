-- helpdesk.conversation_claim
UPDATE conversations
SET status = 'active', assigned_expert_id = ?,
    updated_at = GREATEST(NOW(6), updated_at + INTERVAL 1 MICROSECOND)
WHERE id = ? AND status = 'waiting' AND assigned_expert_id IS NULL
