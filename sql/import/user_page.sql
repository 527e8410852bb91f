-- import.user_page: of the source, whatever columns it has
SELECT * FROM users WHERE id > ? ORDER BY id LIMIT 512
