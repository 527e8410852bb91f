-- import.message_count: of the source
SELECT COUNT(*) FROM messages
