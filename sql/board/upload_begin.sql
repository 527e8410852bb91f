-- board.upload_begin
INSERT INTO board_uploads (picture, sweep_at) VALUES (?, NOW(6) + INTERVAL ? SECOND)
