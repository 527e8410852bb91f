-- board.upload_end
DELETE FROM board_uploads WHERE picture = ? AND swept = FALSE
