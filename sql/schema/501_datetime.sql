-- The moments that GET /date_time stored. Only the newest are kept: see src/datetime/moments.rs.

CREATE TABLE IF NOT EXISTS date_times (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at DATETIME(6) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
