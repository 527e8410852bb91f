-- helpdesk.message_read
UPDATE messages SET is_read = TRUE, updated_at = NOW(6) WHERE id = ? AND is_read = FALSE
