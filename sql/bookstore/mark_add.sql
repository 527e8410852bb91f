-- bookstore.mark_add
INSERT INTO bookstore_marks (user_id, version) VALUES (?, LAST_INSERT_ID(1))
ON DUPLICATE KEY UPDATE version = LAST_INSERT_ID(version + 1)
