-- What an expert is at is found without going through all that they were ever at. Status only, no time: so posting a
-- message does not touch it.
-- MySQL has no ADD KEY IF NOT EXISTS, so it is looked for first.
SET @add_key = IF(
    EXISTS (
        SELECT 1 FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'conversations' AND index_name = 'conversations_expert_status'
    ),
    'DO 0',
    'ALTER TABLE conversations ADD KEY conversations_expert_status (assigned_expert_id, status)'
) /* IF NOT EXISTS */;
PREPARE add_key FROM @add_key /* IF NOT EXISTS */;
EXECUTE add_key /* IF NOT EXISTS */;
DEALLOCATE PREPARE add_key /* IF EXISTS */;
