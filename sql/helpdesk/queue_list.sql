-- helpdesk.queue_list: one statement is one snapshot, so a claim shows on both sides or on neither; picked as in conversation_list
-- Without the hints the LIMIT makes the index of the order look cheap, and all of an expert's past is gone through.
SELECT c.is_assigned, {conversation}
FROM (
    (SELECT FALSE AS is_assigned, w.* FROM conversations w FORCE INDEX (conversations_status)
        WHERE status = 'waiting' ORDER BY created_at, id LIMIT 100)
    UNION ALL
    (SELECT TRUE, a.* FROM conversations a FORCE INDEX (conversations_expert_status)
        WHERE assigned_expert_id = ? AND status = 'active' ORDER BY updated_at DESC, id DESC LIMIT ?)
) c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
