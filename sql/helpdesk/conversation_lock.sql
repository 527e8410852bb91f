-- helpdesk.conversation_lock
SELECT status, assigned_expert_id FROM conversations WHERE id = ? FOR UPDATE
