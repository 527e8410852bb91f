-- bookstore.purchase_insert
INSERT INTO purchases
    (book_id, buyer_id, quantity, unit_price, total_price, status, created_at, updated_at)
SELECT id, ?, ?, price, price * ?, 'Pending Payment', NOW(6), NOW(6)
FROM books
WHERE id = ?
