-- bookstore.book_count
SELECT COUNT(*) FROM (SELECT id FROM books WHERE deleted_at IS NULL LIMIT ?) counted
