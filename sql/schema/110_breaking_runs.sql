-- The feed as runs: what one instance numbered in one go, as readers need it. Whoever numbers makes it, from the snapshot
-- that showed the changes; everybody reads it by its number. It takes the place of `events`, which had a row for each
-- change, joined and rendered anew by every instance.
-- breaking: drops `events`, which the versions before read and write.
-- It goes: an instance of the version before finds that the schema is not its own, and serves nobody. One that
-- runs already can neither read nor number (its packet fails before it moves the head): it refuses polls, what is
-- written through it waits in `outbox` for this version, and nothing is lost. `feed_head` goes on where it is: who has
-- the newest position goes on from it, who has an older one reads everything anew.
DROP TABLE IF EXISTS events;

CREATE TABLE IF NOT EXISTS runs (
    -- The number of its last change; its first follows on the last of the run before.
    seq BIGINT NOT NULL PRIMARY KEY,
    first BIGINT NOT NULL,
    -- The time of the change before its first: that tells one history from another one.
    after_at DATETIME(6) NOT NULL,
    -- The time of its last change. Those before it are a microsecond apart.
    at DATETIME(6) NOT NULL,
    -- The bytes of all bodies up to this one: how much lies between two is told without reading it.
    bytes BIGINT NOT NULL,
    -- JSON: src/feed/run.rs.
    body MEDIUMTEXT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
