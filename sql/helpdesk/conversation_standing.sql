-- helpdesk.conversation_standing
SELECT status, assigned_expert_id FROM conversations WHERE id = ?
