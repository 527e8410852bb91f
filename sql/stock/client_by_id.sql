-- stock.client_by_id
SELECT secret_hash, scope, revoked_at IS NOT NULL FROM oauth_clients WHERE id = ?
