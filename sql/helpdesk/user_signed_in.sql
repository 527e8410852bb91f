-- helpdesk.user_signed_in
UPDATE users SET last_active_at = NOW(6) WHERE id = ?
