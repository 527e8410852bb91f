-- board.upload_list_overdue
SELECT picture FROM board_uploads WHERE sweep_at < NOW(6) ORDER BY sweep_at LIMIT ?
