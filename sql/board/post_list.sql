-- board.post_list
SELECT id, message, picture, created_at FROM board_posts ORDER BY id DESC LIMIT ?
