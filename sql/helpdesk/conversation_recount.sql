-- helpdesk.conversation_recount: for whoever has locked the row before, so that nobody is about to post
SELECT COUNT(*) INTO @messages FROM messages WHERE conversation_id = ?;
UPDATE conversations SET message_count = @messages, message_counted_at = last_message_at WHERE id = ?
