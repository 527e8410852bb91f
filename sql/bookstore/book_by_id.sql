-- bookstore.book_by_id
SELECT id, title, author, description, price, stock, seller_id
FROM books
WHERE id = ? AND deleted_at IS NULL
