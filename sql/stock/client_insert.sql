-- stock.client_insert
INSERT INTO oauth_clients (name, secret_hash, scope, created_at) VALUES (?, ?, ?, NOW(6))
