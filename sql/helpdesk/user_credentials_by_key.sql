-- helpdesk.user_credentials_by_key
SELECT id, password_digest FROM users WHERE username_key = ?
