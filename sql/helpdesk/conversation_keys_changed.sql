-- helpdesk.conversation_keys_changed: those that changed since, in the order in which they were opened
(SELECT id, created_at FROM conversations
    WHERE initiator_id = ? AND updated_at > ? AND (created_at > ? OR (created_at = ? AND id > ?))
    ORDER BY created_at, id LIMIT ?)
UNION ALL
(SELECT id, created_at FROM conversations
    WHERE assigned_expert_id = ? AND updated_at > ? AND (created_at > ? OR (created_at = ? AND id > ?))
    ORDER BY created_at, id LIMIT ?)
