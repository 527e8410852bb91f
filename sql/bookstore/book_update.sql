-- bookstore.book_update
UPDATE books
SET title = COALESCE(?, title), author = COALESCE(?, author), description = COALESCE(?, description),
    price = COALESCE(?, price), stock = COALESCE(?, stock), updated_at = NOW(6)
WHERE id = ?
