-- helpdesk.message_insert
INSERT INTO messages (conversation_id, sender_id, sender_role, content, created_at, updated_at)
SELECT c.id, ?, IF(c.initiator_id = ?, 'initiator', 'expert'), ?, c.last_message_at, c.last_message_at
FROM conversations c
WHERE c.id = ?
