-- bookstore.book_search
SELECT id, title, author, description, price, stock, seller_id
FROM books
WHERE deleted_at IS NULL AND (title LIKE ? ESCAPE '!' OR author LIKE ? ESCAPE '!')
ORDER BY id DESC
LIMIT ? OFFSET ?
