-- The update feed. `outbox` has one row for every change that a client can see, written by the transaction that
-- makes the change; the sequencer moves it to `events` after the commit, with a number and a time: see src/feed.
-- Two tables, each with nothing but its primary key, so that a row is written twice, once at the end of each:
-- an index of the rows without a number would keep what was numbered until InnoDB purges it, and every look
-- for new ones would go through that, version by version.

CREATE TABLE IF NOT EXISTS outbox (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- opened, message, read, claimed, unclaimed, resolved, signed_out
    kind VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    conversation_id BIGINT NULL,
    message_id BIGINT NULL,
    -- Who claimed it, gave it back or resolved it.
    expert_id BIGINT NULL,
    -- The session of a sign-out, and until when it must be remembered.
    sid BINARY(16) NULL,
    sid_expires_at DATETIME(6) NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS events (
    -- Gapless, in the order in which changes became visible.
    seq BIGINT NOT NULL PRIMARY KEY,
    -- Strictly increasing with seq.
    at DATETIME(6) NOT NULL,
    -- What it was in the outbox.
    id BIGINT NOT NULL,
    kind VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    conversation_id BIGINT NULL,
    message_id BIGINT NULL,
    expert_id BIGINT NULL,
    sid BINARY(16) NULL,
    sid_expires_at DATETIME(6) NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS feed_head (
    id TINYINT NOT NULL PRIMARY KEY,
    -- The last number given, and its time.
    seq BIGINT NOT NULL,
    at DATETIME(6) NOT NULL,
    -- Tells this feed from another one in the same place, such as after a restore.
    epoch BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO feed_head (id, seq, at, epoch) VALUES (1, 0, NOW(6), UUID_SHORT());
