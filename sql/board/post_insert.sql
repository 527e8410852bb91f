-- board.post_insert
INSERT INTO board_posts (message, picture, created_at) VALUES (?, ?, NOW(6))
