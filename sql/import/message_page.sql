-- import.message_page: of the source, whatever columns it has
SELECT * FROM messages WHERE id > ? ORDER BY id LIMIT 512
