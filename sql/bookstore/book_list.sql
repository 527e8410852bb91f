-- bookstore.book_list
SELECT id, title, author, description, price, stock, seller_id
FROM books
WHERE deleted_at IS NULL
ORDER BY id DESC
LIMIT ? OFFSET ?
