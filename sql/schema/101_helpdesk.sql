-- The help desk. Names are those of the Rails original where it has them. There are no foreign keys: nothing
-- is ever deleted that another row names, and checking them would lock users and conversations for readers
-- of other rows while messages are posted.

CREATE TABLE IF NOT EXISTS users (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- Binary collation: names that differ in case or accent are different people, and never become one by
    -- accident. (Trailing spaces do not count in comparisons; names are stored without them.)
    username VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    password_digest VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    last_active_at DATETIME(6) NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    UNIQUE KEY users_username (username)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS expert_profiles (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    bio TEXT NOT NULL,
    -- A JSON array of strings.
    knowledge_base_links TEXT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    UNIQUE KEY expert_profiles_user (user_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS conversations (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    title VARCHAR(255) NOT NULL,
    -- waiting, active or resolved
    status VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    initiator_id BIGINT NOT NULL,
    assigned_expert_id BIGINT NULL,
    last_message_at DATETIME(6) NULL,
    -- Messages that nobody has read, and those of them that each side sent: counted where they change, so that
    -- to show a conversation costs the same however many there are.
    unread BIGINT NOT NULL DEFAULT 0,
    unread_from_initiator BIGINT NOT NULL DEFAULT 0,
    unread_from_expert BIGINT NOT NULL DEFAULT 0,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    KEY conversations_initiator (initiator_id, updated_at, id),
    KEY conversations_expert (assigned_expert_id, updated_at, id),
    KEY conversations_status (status, created_at, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS messages (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    conversation_id BIGINT NOT NULL,
    sender_id BIGINT NOT NULL,
    -- initiator or expert
    sender_role VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    content TEXT NOT NULL,
    is_read BOOLEAN NOT NULL DEFAULT FALSE,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    KEY messages_conversation (conversation_id, created_at, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS expert_assignments (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    conversation_id BIGINT NOT NULL,
    expert_id BIGINT NOT NULL,
    -- active, resolved or unassigned
    status VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    assigned_at DATETIME(6) NOT NULL,
    resolved_at DATETIME(6) NULL,
    rating INT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    KEY expert_assignments_expert (expert_id, assigned_at, id),
    KEY expert_assignments_conversation (conversation_id, status)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The first answer to each Idempotency-Key, for a day.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    user_id BIGINT NOT NULL,
    -- SHA-256 of the route and the key, and of the request's body.
    key_hash BINARY(32) NOT NULL,
    request_hash BINARY(32) NOT NULL,
    response MEDIUMTEXT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (user_id, key_hash),
    KEY idempotency_keys_created (created_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Sessions that were signed out, until every token of theirs has expired.
CREATE TABLE IF NOT EXISTS revoked_sessions (
    sid BINARY(16) NOT NULL PRIMARY KEY,
    expires_at DATETIME(6) NOT NULL,
    KEY revoked_sessions_expires (expires_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
