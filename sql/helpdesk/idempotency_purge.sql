-- helpdesk.idempotency_purge
DELETE FROM idempotency_keys WHERE created_at < NOW(6) - INTERVAL 1 DAY ORDER BY created_at LIMIT 500
