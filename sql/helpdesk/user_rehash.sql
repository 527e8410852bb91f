-- helpdesk.user_rehash
UPDATE users SET password_digest = ?, updated_at = NOW(6) WHERE id = ? AND password_digest = ?
