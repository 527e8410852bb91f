-- helpdesk.user_asked
UPDATE users
SET last_active_at = IF(last_active_at >= NOW(6) - INTERVAL ? MICROSECOND,
    last_active_at, NOW(6) - INTERVAL ? MICROSECOND)
WHERE id IN (?)
