-- users.sign_out
INSERT INTO revoked_sessions (sid, expires_at) VALUES (?, ?)
ON DUPLICATE KEY UPDATE expires_at = GREATEST(expires_at, ?)
