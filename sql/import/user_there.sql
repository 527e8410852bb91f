-- import.user_there: what is here already
SELECT id, username, password_digest, username_key, last_active_at, created_at, updated_at
FROM users
WHERE id BETWEEN ? AND ?
