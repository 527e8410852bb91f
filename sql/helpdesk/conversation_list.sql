-- helpdesk.conversation_list: each side's, for whoever takes both together
-- The rows are picked before they are joined, and not by STRAIGHT_JOIN: once a table was opened anew (FLUSH TABLES, a
-- full table cache) MariaDB prepares a statement again without that, and joins all there is before it sorts.
SELECT c.id, c.title, c.status, c.initiator_id, i.username, c.assigned_expert_id, x.username,
    c.created_at, c.updated_at, c.last_message_at, c.unread,
    c.unread_from_initiator, c.unread_from_expert,
    IF(c.message_counted_at <=> c.last_message_at, c.message_count,
        (SELECT COUNT(*) FROM messages n WHERE n.conversation_id = c.id))
FROM (
    (SELECT * FROM conversations WHERE initiator_id = ? ORDER BY updated_at DESC, id DESC LIMIT ?)
    UNION ALL
    (SELECT * FROM conversations WHERE assigned_expert_id = ? ORDER BY updated_at DESC, id DESC LIMIT ?)
) c
JOIN users i ON i.id = c.initiator_id
LEFT JOIN users x ON x.id = c.assigned_expert_id
