-- helpdesk.assignment_insert
INSERT INTO expert_assignments (conversation_id, expert_id, status, assigned_at, created_at, updated_at)
VALUES (?, ?, 'active', NOW(6), NOW(6), NOW(6))
