-- helpdesk.message_keys_before
SELECT conversation_id, created_at, id
FROM messages
WHERE conversation_id = ? AND (created_at < ? OR (created_at = ? AND id < ?))
ORDER BY created_at DESC, id DESC
LIMIT ?
