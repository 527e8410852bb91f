-- helpdesk.user_insert
INSERT INTO users (username, password_digest, username_key, last_active_at, created_at, updated_at)
VALUES (?, ?, ?, NOW(6), NOW(6), NOW(6))
