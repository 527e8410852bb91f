-- board.upload_forget
DELETE FROM board_uploads WHERE picture = ? AND swept = TRUE
