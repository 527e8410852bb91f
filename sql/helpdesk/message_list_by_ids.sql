-- helpdesk.message_list_by_ids: the senders' names are few, and looked up once each
SELECT id, conversation_id, sender_id, '', sender_role, content, created_at, is_read
FROM messages
WHERE id IN (?)
