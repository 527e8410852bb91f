-- helpdesk.conversation_unread_from_expert
UPDATE conversations SET unread_from_expert = ? WHERE id = ?
