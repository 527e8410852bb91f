-- users.signed_out
SELECT sid, expires_at FROM revoked_sessions WHERE sid > ? AND expires_at > NOW(6) ORDER BY sid LIMIT 10000
