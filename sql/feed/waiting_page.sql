-- feed.waiting_page
SELECT c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread,
    c.unread_from_initiator, c.unread_from_expert,
    EXISTS (SELECT 1 FROM events e WHERE (e.seq IS NULL OR e.seq > ?) AND e.conversation_id = c.id AND e.kind <> 'read')
FROM (SELECT * FROM conversations WHERE status = 'waiting' ORDER BY created_at, id LIMIT 100) c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
ORDER BY c.created_at, c.id
