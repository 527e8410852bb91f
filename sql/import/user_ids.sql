-- import.user_ids: which of these the source has
SELECT id FROM users WHERE id IN (?)
