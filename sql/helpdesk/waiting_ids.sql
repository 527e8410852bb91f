-- helpdesk.waiting_ids
SELECT id, created_at, initiator_id FROM conversations WHERE status = 'waiting' AND id > ? ORDER BY id LIMIT 10000
