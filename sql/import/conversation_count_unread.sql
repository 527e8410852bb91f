-- import.conversation_count_unread: those that nobody has read, and those of them that each side sent
UPDATE conversations c
LEFT JOIN (
    SELECT m.conversation_id, COUNT(*) AS unread,
        SUM(m.sender_id = own.initiator_id) AS from_initiator,
        SUM(m.sender_id <=> own.assigned_expert_id) AS from_expert
    FROM messages m
    JOIN conversations own ON own.id = m.conversation_id
    WHERE m.conversation_id BETWEEN ? AND ? AND m.is_read = FALSE
    GROUP BY m.conversation_id
) counted ON counted.conversation_id = c.id
SET c.unread = COALESCE(counted.unread, 0),
    c.unread_from_initiator = COALESCE(counted.from_initiator, 0),
    c.unread_from_expert = COALESCE(counted.from_expert, 0)
WHERE c.id BETWEEN ? AND ?
