-- bookstore.book_seller_lock
SELECT seller_id FROM books WHERE id = ? AND deleted_at IS NULL FOR UPDATE
