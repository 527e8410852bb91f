-- The message board. A post is there only for a picture that was stored: see src/board/pictures.rs.

CREATE TABLE IF NOT EXISTS board_posts (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    message VARCHAR(255) NOT NULL,
    -- <uuid>_<name>: the key in the bucket, the file in the folder.
    picture VARCHAR(191) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at DATETIME(6) NOT NULL,
    UNIQUE KEY board_posts_picture (picture)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Pictures that are being stored, each noted before its first byte is sent and struck out by the transaction
-- that makes its post. What stays longer than an upload takes is an orphan, and the sweep deletes it.
CREATE TABLE IF NOT EXISTS board_uploads (
    picture VARCHAR(191) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    -- When it may be swept; moved on by whoever sweeps it, so that one does at a time.
    sweep_at DATETIME(6) NOT NULL,
    -- Once swept it may not become a post any more, however late its upload comes to an end.
    swept BOOLEAN NOT NULL DEFAULT FALSE,
    KEY board_uploads_sweep (sweep_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
