-- bookstore.book_insert
INSERT INTO books (seller_id, title, author, description, price, stock, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, NOW(6), NOW(6))
