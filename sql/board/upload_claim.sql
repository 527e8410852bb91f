-- board.upload_claim
UPDATE board_uploads SET swept = TRUE, sweep_at = NOW(6) + INTERVAL ? SECOND
WHERE picture = ? AND sweep_at < NOW(6)
