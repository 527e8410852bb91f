-- helpdesk.waiting_page
SELECT {conversation},
    ahead.conversation_id IS NOT NULL
FROM (SELECT * FROM conversations WHERE status = 'waiting' ORDER BY created_at, id LIMIT 100) c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
LEFT JOIN (
    SELECT conversation_id FROM outbox WHERE kind <> 'read'
    UNION
    SELECT item.conversation_id
    FROM runs
    JOIN JSON_TABLE(runs.body, '$.items[*]' COLUMNS (
        kind VARCHAR(20) PATH '$.kind', conversation_id BIGINT PATH '$.conversation'
    )) item
    WHERE runs.seq > ? AND item.kind <> 'read'
) ahead ON ahead.conversation_id = c.id
ORDER BY c.created_at, c.id
