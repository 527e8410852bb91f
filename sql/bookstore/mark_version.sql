-- bookstore.mark_version
SELECT version FROM bookstore_marks WHERE user_id = ?
