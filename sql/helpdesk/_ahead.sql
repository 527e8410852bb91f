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