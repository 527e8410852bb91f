-- helpdesk.message_keys_of_others
SELECT id, created_at
FROM messages
WHERE conversation_id = ? AND (created_at > ? OR (created_at = ? AND id > ?)) AND sender_id <> ?
ORDER BY created_at, id
LIMIT ?
