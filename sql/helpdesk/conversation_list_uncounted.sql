-- helpdesk.conversation_list_uncounted: of the next 1,000 those whose count is not to be trusted, and the last of all
SELECT page.last_id, c.id
FROM (SELECT MAX(id) AS last_id FROM (SELECT id FROM conversations WHERE id > ? ORDER BY id LIMIT 1000) next) page
LEFT JOIN conversations c
    ON c.id > ? AND c.id <= page.last_id AND NOT (c.message_counted_at <=> c.last_message_at)
