-- How many messages a conversation has, and until which of its `last_message_at` they were counted. Whoever posts and
-- counts sets both; a server of the version before posts, moves `last_message_at` and counts nothing. So where the two
-- times differ the count is not to be trusted, and the messages themselves are counted: rows from before this
-- migration need no rewriting at once, and versions may serve side by side. src/helpdesk/counts.rs counts what is left.
-- MySQL has no ADD COLUMN IF NOT EXISTS, so it is looked for first.
SET @add_columns = IF(
    EXISTS (
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'conversations' AND column_name = 'message_count'
    ),
    'DO 0',
    'ALTER TABLE conversations ADD COLUMN message_count BIGINT NOT NULL DEFAULT 0, ADD COLUMN message_counted_at DATETIME(6) NULL'
) /* IF NOT EXISTS */;
PREPARE add_columns FROM @add_columns /* IF NOT EXISTS */;
EXECUTE add_columns /* IF NOT EXISTS */;
DEALLOCATE PREPARE add_columns /* IF EXISTS */;
