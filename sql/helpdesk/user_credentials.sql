-- helpdesk.user_credentials
SELECT id, password_digest FROM users WHERE username = ?
