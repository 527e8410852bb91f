-- users.signed_out_since: with the database's clock, and whether it still takes writes, also where there are none
SELECT NOW(6), CAST(@@global.read_only AS CHAR) NOT IN ('0', 'OFF') OR @@global.innodb_read_only,
    late.sid, late.expires_at
FROM (SELECT 1 AS one) once
LEFT JOIN (SELECT sid, expires_at FROM revoked_sessions FORCE INDEX (revoked_sessions_revoked)
    WHERE revoked_at > ? ORDER BY revoked_at LIMIT 10000) late ON TRUE
