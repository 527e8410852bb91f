-- For databases of the first builds, whose conversations had no counts of unread messages: 101 was changed after those
-- builds. Other databases have all of this, and nothing is done there.
-- MySQL has no ADD COLUMN IF NOT EXISTS, so what is there is looked for first.
SET @add_counts = IF(
    EXISTS (
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'conversations' AND column_name = 'unread'
    ),
    'DO 0',
    'ALTER TABLE conversations
        ADD COLUMN unread BIGINT NOT NULL DEFAULT 0 AFTER last_message_at,
        ADD COLUMN unread_from_initiator BIGINT NOT NULL DEFAULT 0 AFTER unread,
        ADD COLUMN unread_from_expert BIGINT NOT NULL DEFAULT 0 AFTER unread_from_initiator'
) /* IF NOT EXISTS */;
PREPARE add_counts FROM @add_counts /* IF NOT EXISTS */;
EXECUTE add_counts /* IF NOT EXISTS */;
DEALLOCATE PREPARE add_counts /* IF EXISTS */;

-- The old index of unread messages is there until they were counted: it goes last, so whoever breaks off before counts
-- again.
SET @count_unread = IF(
    EXISTS (
        SELECT 1 FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'messages' AND index_name = 'messages_unread'
    ),
    'UPDATE conversations c
        LEFT JOIN (
            SELECT m.conversation_id, COUNT(*) AS unread,
                SUM(m.sender_id = own.initiator_id) AS from_initiator,
                SUM(m.sender_id <=> own.assigned_expert_id) AS from_expert
            FROM messages m
            JOIN conversations own ON own.id = m.conversation_id
            WHERE m.is_read = FALSE
            GROUP BY m.conversation_id
        ) counted ON counted.conversation_id = c.id
        SET c.unread = COALESCE(counted.unread, 0),
            c.unread_from_initiator = COALESCE(counted.from_initiator, 0),
            c.unread_from_expert = COALESCE(counted.from_expert, 0)',
    'DO 0'
) /* IF EXISTS */;
PREPARE count_unread FROM @count_unread /* IF EXISTS */;
EXECUTE count_unread /* IF EXISTS */;
DEALLOCATE PREPARE count_unread /* IF EXISTS */;

SET @drop_index = IF(
    EXISTS (
        SELECT 1 FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'messages' AND index_name = 'messages_unread'
    ),
    'ALTER TABLE messages DROP KEY messages_unread',
    'DO 0'
) /* IF EXISTS */;
PREPARE drop_index FROM @drop_index /* IF EXISTS */;
EXECUTE drop_index /* IF EXISTS */;
DEALLOCATE PREPARE drop_index /* IF EXISTS */;
