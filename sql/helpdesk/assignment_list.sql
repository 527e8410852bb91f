-- helpdesk.assignment_list
SELECT id, conversation_id, expert_id, status, assigned_at, resolved_at, rating
FROM expert_assignments
WHERE expert_id = ?
ORDER BY assigned_at DESC, id DESC
LIMIT ?
