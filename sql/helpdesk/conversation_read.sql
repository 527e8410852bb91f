-- helpdesk.conversation_read
UPDATE conversations
SET unread = unread - 1,
    unread_from_initiator = unread_from_initiator - (initiator_id = ?),
    unread_from_expert = unread_from_expert - (assigned_expert_id <=> ?)
WHERE id = ?
