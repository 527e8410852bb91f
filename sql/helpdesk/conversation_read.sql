-- helpdesk.conversation_read: rows that somebody else brought in may lack their counts, and none is less than 0
UPDATE conversations
SET unread = GREATEST(unread - 1, 0),
    unread_from_initiator = GREATEST(unread_from_initiator - (initiator_id = ?), 0),
    unread_from_expert = GREATEST(unread_from_expert - (assigned_expert_id <=> ?), 0)
WHERE id = ?
