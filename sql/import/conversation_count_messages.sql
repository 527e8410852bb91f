-- import.conversation_count_messages: all, those that nobody has read, and those of them that each side sent
UPDATE conversations c
LEFT JOIN (
    SELECT m.conversation_id, COUNT(*) AS messages,
        SUM(m.is_read = FALSE) AS unread,
        SUM(m.is_read = FALSE AND m.sender_id = own.initiator_id) AS from_initiator,
        SUM(m.is_read = FALSE AND m.sender_id <=> own.assigned_expert_id) AS from_expert
    FROM messages m
    JOIN conversations own ON own.id = m.conversation_id
    WHERE m.conversation_id BETWEEN ? AND ?
    GROUP BY m.conversation_id
) counted ON counted.conversation_id = c.id
SET c.unread = COALESCE(counted.unread, 0),
    c.unread_from_initiator = COALESCE(counted.from_initiator, 0),
    c.unread_from_expert = COALESCE(counted.from_expert, 0),
    c.message_count = COALESCE(counted.messages, 0),
    c.message_counted_at = c.last_message_at
WHERE c.id BETWEEN ? AND ?
