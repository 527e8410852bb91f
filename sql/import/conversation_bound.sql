-- import.conversation_bound: where a page of conversations ends
SELECT MAX(page.id)
FROM (SELECT id FROM conversations WHERE id > ? ORDER BY id LIMIT 512) page
