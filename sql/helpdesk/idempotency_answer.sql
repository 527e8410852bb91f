-- helpdesk.idempotency_answer
UPDATE idempotency_keys SET response = ? WHERE user_id = ? AND key_hash = ?
