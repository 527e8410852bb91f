-- helpdesk.assignment_end
UPDATE expert_assignments
SET status = ?, resolved_at = IF(status = 'resolved', NOW(6), resolved_at), updated_at = NOW(6)
WHERE conversation_id = ? AND expert_id = ? AND status = 'active'
