-- import.assignment_there: what is here already
SELECT id, conversation_id, expert_id, status, assigned_at, resolved_at, rating, created_at, updated_at
FROM expert_assignments
WHERE id BETWEEN ? AND ?
