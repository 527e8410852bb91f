-- bookstore.book_list_mine
SELECT id, title, author, description, price, stock, seller_id
FROM books
WHERE seller_id = ? AND id < ? AND deleted_at IS NULL
ORDER BY id DESC
LIMIT ?
