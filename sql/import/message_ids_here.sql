-- import.message_ids_here: a page of the ids here, up to the last one of a page of the source
SELECT id FROM messages WHERE id > ? AND id <= ? ORDER BY id LIMIT 512
