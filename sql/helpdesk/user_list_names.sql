-- helpdesk.user_list_names
SELECT id, username FROM users WHERE id IN (?)
