-- stock.client_list
SELECT id, name, scope, created_at, revoked_at FROM oauth_clients ORDER BY id
