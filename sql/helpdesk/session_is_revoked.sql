-- helpdesk.session_is_revoked
SELECT 1 FROM revoked_sessions WHERE sid = ?
