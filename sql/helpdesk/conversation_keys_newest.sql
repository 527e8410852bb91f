-- helpdesk.conversation_keys_newest
(SELECT id, updated_at FROM conversations
    WHERE initiator_id = ? AND (updated_at < ? OR (updated_at = ? AND id < ?))
    ORDER BY updated_at DESC, id DESC LIMIT ?)
UNION ALL
(SELECT id, updated_at FROM conversations
    WHERE assigned_expert_id = ? AND (updated_at < ? OR (updated_at = ? AND id < ?))
    ORDER BY updated_at DESC, id DESC LIMIT ?)
