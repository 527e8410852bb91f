-- The stock counter, and the client programs that may use it.

-- One row: the number that everyone buys from.
CREATE TABLE IF NOT EXISTS hyper_stock (
    id TINYINT NOT NULL PRIMARY KEY,
    quantity BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO hyper_stock (id, quantity) VALUES (1, 0);

CREATE TABLE IF NOT EXISTS oauth_clients (
    -- The client_id.
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- For people; may be empty.
    name VARCHAR(255) NOT NULL,
    -- HMAC-SHA-256 of the secret, see src/auth/oauth.rs.
    secret_hash BINARY(32) NOT NULL,
    -- Scopes that may be asked for, separated by spaces.
    scope VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at DATETIME(6) NOT NULL,
    revoked_at DATETIME(6) NULL,
    KEY oauth_clients_revoked (revoked_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
