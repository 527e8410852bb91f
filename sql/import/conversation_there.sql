-- import.conversation_there: what is here already
SELECT id, title, status, initiator_id, assigned_expert_id, last_message_at, created_at, updated_at
FROM conversations
WHERE id BETWEEN ? AND ?
