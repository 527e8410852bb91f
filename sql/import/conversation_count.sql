-- import.conversation_count: of the source
SELECT COUNT(*) FROM conversations
