-- import.conversation_page: of the source, whatever columns it has
SELECT * FROM conversations WHERE id > ? ORDER BY id LIMIT 512
