-- feed.conversations_1
SELECT c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread,
    c.unread_from_initiator, c.unread_from_expert,
    ahead.conversation_id IS NOT NULL
FROM conversations c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
LEFT JOIN (
    SELECT DISTINCT conversation_id FROM events WHERE (seq IS NULL OR seq > ?) AND kind <> 'read'
) ahead ON ahead.conversation_id = c.id
WHERE c.id IN (?)
