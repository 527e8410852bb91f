-- helpdesk.conversation_count_waiting
SELECT COUNT(*) FROM conversations WHERE status = 'waiting'
