-- helpdesk.message_insert: VALUES, not SELECT, which would keep other writers from their ids
INSERT INTO messages (conversation_id, sender_id, content, sender_role, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?)
