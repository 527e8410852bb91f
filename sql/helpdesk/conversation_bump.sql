-- helpdesk.conversation_bump
UPDATE conversations
SET updated_at = GREATEST(NOW(6), updated_at + INTERVAL 1 MICROSECOND), last_message_at = updated_at
WHERE id = ? AND (initiator_id = ? OR assigned_expert_id = ?)
