-- users.is_signed_out
SELECT 1 FROM revoked_sessions WHERE sid = ?
