-- stock.client_revoke
UPDATE oauth_clients SET revoked_at = COALESCE(revoked_at, NOW(6)) WHERE id = ?
