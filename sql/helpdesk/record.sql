-- helpdesk.record: VALUES, not SELECT, which would keep other writers from their ids
INSERT INTO outbox (kind, conversation_id, message_id, expert_id) VALUES (?, ?, ?, ?);
COMMIT
