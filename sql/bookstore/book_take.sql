-- bookstore.book_take
UPDATE books
SET stock = stock - ?
WHERE id = ? AND deleted_at IS NULL AND stock >= ?
