-- SHA-256 of a username without case and accents, where it is the only such name: see src/auth/names.rs. NULL for names
-- of whoever registers where they are told apart byte for byte, and for all but the first of several that are alike.
SET @add_key = IF(
    EXISTS (
        SELECT 1 FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'users' AND column_name = 'username_key'
    ),
    'DO 0',
    'ALTER TABLE users
        ADD COLUMN username_key BINARY(32) NULL AFTER username,
        ADD UNIQUE KEY users_username_key (username_key)'
) /* IF NOT EXISTS */;
PREPARE add_key FROM @add_key /* IF NOT EXISTS */;
EXECUTE add_key /* IF NOT EXISTS */;
DEALLOCATE PREPARE add_key /* IF EXISTS */;
