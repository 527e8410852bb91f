-- When a session was signed out, so that instances find those of late by a look each half second: no change of the
-- update feed tells them any more. The version before names no such column and need not. It learns of sign-outs by the
-- feed, so not of those through an instance of this version: let the two run side by side no longer than it takes.
-- MySQL has no ADD COLUMN IF NOT EXISTS, so it is looked for first.
SET @add_column = IF(
    EXISTS (
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'revoked_sessions' AND column_name = 'revoked_at'
    ),
    'DO 0',
    'ALTER TABLE revoked_sessions
        ADD COLUMN revoked_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
        ADD KEY revoked_sessions_revoked (revoked_at)'
) /* IF NOT EXISTS */;
PREPARE add_column FROM @add_column /* IF NOT EXISTS */;
EXECUTE add_column /* IF NOT EXISTS */;
DEALLOCATE PREPARE add_column /* IF EXISTS */;
