-- users.newest: a time that is none, as old tables can hold, is nobody's business but its user's
SELECT id, COALESCE(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_at), 0), NOW(6)
FROM users
WHERE id < ?
ORDER BY id DESC
LIMIT ?
