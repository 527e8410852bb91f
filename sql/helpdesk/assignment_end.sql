-- helpdesk.assignment_end
UPDATE expert_assignments
SET status = ?, resolved_at = NOW(6), updated_at = NOW(6)
WHERE conversation_id = ? AND expert_id = ? AND status = 'active'
