-- stock.client_revoked
SELECT id FROM oauth_clients WHERE revoked_at > NOW(6) - INTERVAL ? SECOND
