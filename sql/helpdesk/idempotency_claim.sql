-- helpdesk.idempotency_claim
INSERT INTO idempotency_keys (user_id, key_hash, request_hash, created_at) VALUES (?, ?, ?, NOW(6))
