-- helpdesk.conversation_list: each side's, for whoever takes both together
-- The rows are picked before they are joined, and not by STRAIGHT_JOIN: once a table was opened anew (FLUSH TABLES, a
-- full table cache) MariaDB prepares a statement again without that, and joins all there is before it sorts.
SELECT {conversation}
FROM (
    (SELECT * FROM conversations WHERE initiator_id = ? ORDER BY updated_at DESC, id DESC LIMIT ?)
    UNION ALL
    (SELECT * FROM conversations WHERE assigned_expert_id = ? ORDER BY updated_at DESC, id DESC LIMIT ?)
) c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
