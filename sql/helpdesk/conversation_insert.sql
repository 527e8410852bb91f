-- helpdesk.conversation_insert
INSERT INTO conversations (title, status, initiator_id, created_at, updated_at)
VALUES (?, 'waiting', ?, NOW(6), NOW(6))
