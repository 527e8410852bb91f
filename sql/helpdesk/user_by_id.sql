-- helpdesk.user_by_id
SELECT id, username, created_at, last_active_at FROM users WHERE id = ?
