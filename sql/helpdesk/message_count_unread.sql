-- helpdesk.message_count_unread
SELECT COUNT(*) FROM messages WHERE conversation_id = ? AND sender_id = ? AND is_read = FALSE
