-- bookstore.book_delete
UPDATE books SET deleted_at = NOW(6), updated_at = NOW(6) WHERE id = ?
