-- helpdesk.user_give_key
UPDATE users SET username_key = ? WHERE id = ? AND username_key IS NULL
