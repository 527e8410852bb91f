-- bookstore.purchase_by_id
SELECT id, book_id, quantity, total_price, status, created_at
FROM purchases
WHERE id = ? AND buyer_id = ?
