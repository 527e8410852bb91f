-- helpdesk.idempotency_find
SELECT request_hash, response FROM idempotency_keys WHERE user_id = ? AND key_hash = ?
