-- helpdesk.user_list_without_key: the newest come last, and those of before are not looked at again
SELECT id, username FROM users WHERE username_key IS NULL AND id > ? ORDER BY id LIMIT 500
