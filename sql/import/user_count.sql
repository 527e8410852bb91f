-- import.user_count: of the source
SELECT COUNT(*) FROM users
