-- feed.purge_revoked
DELETE FROM revoked_sessions WHERE expires_at < NOW(6) ORDER BY expires_at LIMIT 500
