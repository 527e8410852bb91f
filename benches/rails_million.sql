-- A help desk of Rails 8 with a million messages, to measure an import with:
--
--   mysql -e 'CREATE DATABASE rails_million' && mysql rails_million <benches/rails_million.sql
--   IMPORT_FROM=mysql://…/rails_million hyperdesk import
--
-- 2,000 people, 400 of them experts; 50,000 conversations, of which 40,000 are resolved, 8,000 active and 2,000 waiting;
-- 20 messages in each, 72 bytes on average, one in thirteen unread, one in seven with characters of four bytes.
-- Takes some minutes, and some 300 MB. In any MySQL and MariaDB.

SET NAMES utf8mb4;
SET unique_checks = 0, foreign_key_checks = 0;

CREATE TABLE schema_migrations (version varchar(255) NOT NULL PRIMARY KEY)
    ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE users (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username varchar(255) NOT NULL,
    password_digest varchar(255) NOT NULL,
    last_active_at datetime(6) DEFAULT NULL,
    created_at datetime(6) NOT NULL,
    updated_at datetime(6) NOT NULL,
    UNIQUE KEY index_users_on_username (username)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE expert_profiles (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id bigint NOT NULL,
    bio text,
    knowledge_base_links json,
    created_at datetime(6) NOT NULL,
    updated_at datetime(6) NOT NULL,
    KEY index_expert_profiles_on_user_id (user_id),
    CONSTRAINT fk_p_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE conversations (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    title varchar(255) NOT NULL,
    status varchar(255) NOT NULL DEFAULT 'waiting',
    initiator_id bigint NOT NULL,
    assigned_expert_id bigint DEFAULT NULL,
    last_message_at datetime(6) DEFAULT NULL,
    created_at datetime(6) NOT NULL,
    updated_at datetime(6) NOT NULL,
    KEY index_conversations_on_initiator_id (initiator_id),
    KEY index_conversations_on_assigned_expert_id (assigned_expert_id),
    CONSTRAINT fk_c_initiator FOREIGN KEY (initiator_id) REFERENCES users (id),
    CONSTRAINT fk_c_expert FOREIGN KEY (assigned_expert_id) REFERENCES users (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE messages (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    conversation_id bigint NOT NULL,
    sender_id bigint NOT NULL,
    sender_role varchar(255) DEFAULT NULL,
    content text NOT NULL,
    is_read tinyint(1) NOT NULL DEFAULT '0',
    created_at datetime(6) NOT NULL,
    updated_at datetime(6) NOT NULL,
    KEY index_messages_on_conversation_id (conversation_id),
    CONSTRAINT fk_m_conversation FOREIGN KEY (conversation_id) REFERENCES conversations (id),
    CONSTRAINT fk_m_sender FOREIGN KEY (sender_id) REFERENCES users (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE expert_assignments (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    conversation_id bigint NOT NULL,
    expert_id bigint NOT NULL,
    status varchar(255) NOT NULL DEFAULT 'active',
    assigned_at datetime(6) DEFAULT NULL,
    resolved_at datetime(6) DEFAULT NULL,
    rating int DEFAULT NULL,
    created_at datetime(6) NOT NULL,
    updated_at datetime(6) NOT NULL,
    CONSTRAINT fk_a_conversation FOREIGN KEY (conversation_id) REFERENCES conversations (id),
    CONSTRAINT fk_a_expert FOREIGN KEY (expert_id) REFERENCES users (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE digits (n int NOT NULL PRIMARY KEY) ENGINE=InnoDB;
INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TABLE numbers (i bigint NOT NULL PRIMARY KEY) ENGINE=InnoDB;
INSERT INTO numbers
SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n
FROM digits a, digits b, digits c, digits d, digits e
WHERE e.n < 5;

-- The password of all is one that nobody knows: a digest as Rails has them, of cost 12.
INSERT INTO users (id, username, password_digest, last_active_at, created_at, updated_at)
SELECT i + 1, CONCAT('person', i), '$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW',
    '2025-12-01 08:00:00', '2024-01-01', '2025-12-01 08:00:00'
FROM numbers WHERE i < 2000;

INSERT INTO expert_profiles (user_id, bio, knowledge_base_links, created_at, updated_at)
SELECT i + 1, CONCAT('Printers and ', i, ' 🖨'), '["https://kb.example/1", "https://kb.example/2"]', '2024-01-01', '2024-01-02'
FROM numbers WHERE i < 400;

INSERT INTO conversations
    (id, title, status, initiator_id, assigned_expert_id, last_message_at, created_at, updated_at)
SELECT i + 1, CONCAT('The printer on floor ', i, ' is on fire'),
    CASE WHEN i % 25 = 0 THEN 'waiting' WHEN i % 25 < 5 THEN 'active' ELSE 'resolved' END,
    401 + i % 1600, IF(i % 25 = 0, NULL, 1 + i % 400),
    '2024-02-01' + INTERVAL i MINUTE, '2024-01-02' + INTERVAL i MINUTE, '2024-02-01' + INTERVAL i MINUTE
FROM numbers;

INSERT INTO messages
    (id, conversation_id, sender_id, sender_role, content, is_read, created_at, updated_at)
SELECT c.i * 20 + d.i + 1, c.i + 1,
    IF(d.i % 2 = 0 OR c.i % 25 = 0, 401 + c.i % 1600, 1 + c.i % 400),
    IF(d.i % 2 = 0 OR c.i % 25 = 0, 'initiator', 'expert'),
    CONCAT('Message ', d.i, ' of ', c.i, ': ', REPEAT('and so on ', (c.i + d.i) % 11), IF((c.i + d.i) % 7, '', '😠🔥 é')),
    (c.i + d.i) % 13 <> 0,
    '2024-01-02' + INTERVAL c.i MINUTE + INTERVAL d.i SECOND, '2024-01-02' + INTERVAL c.i MINUTE + INTERVAL d.i SECOND
FROM numbers c, numbers d
WHERE d.i < 20
ORDER BY c.i, d.i;

INSERT INTO expert_assignments
    (conversation_id, expert_id, status, assigned_at, resolved_at, rating, created_at, updated_at)
SELECT i + 1, 1 + i % 400, IF(i % 25 < 5, 'active', 'resolved'), '2024-01-03' + INTERVAL i MINUTE,
    IF(i % 25 < 5, NULL, '2024-02-01' + INTERVAL i MINUTE), IF(i % 3, 1 + i % 5, NULL),
    '2024-01-03' + INTERVAL i MINUTE, '2024-02-01' + INTERVAL i MINUTE
FROM numbers WHERE i % 25 <> 0;

DROP TABLE numbers, digits;
