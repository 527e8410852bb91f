-- helpdesk.user_exists
SELECT id FROM users WHERE username = ?
