-- helpdesk.waiting_page
SELECT {conversation},
    ahead.conversation_id IS NOT NULL
FROM (SELECT * FROM conversations WHERE status = 'waiting' ORDER BY created_at, id LIMIT 100) c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
{ahead}
ORDER BY c.created_at, c.id
