-- helpdesk.message_keys_after
SELECT conversation_id, created_at, id
FROM messages
WHERE conversation_id = ? AND (created_at > ? OR (created_at = ? AND id > ?))
ORDER BY created_at, id
LIMIT ?
