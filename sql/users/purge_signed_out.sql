-- users.purge_signed_out
DELETE FROM revoked_sessions WHERE expires_at < NOW(6) ORDER BY expires_at LIMIT 500
