-- bookstore.book_search_count
SELECT COUNT(*) FROM (
    SELECT id FROM books
    WHERE deleted_at IS NULL AND (title LIKE ? ESCAPE '!' OR author LIKE ? ESCAPE '!')
    LIMIT ?
) counted
