-- bookstore.purchase_deliver
UPDATE purchases
SET delivery_provider_id = ?, delivery_cost = ?, updated_at = NOW(6)
WHERE id = ? AND buyer_id = ?
