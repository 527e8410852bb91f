-- helpdesk.conversation_is_mine
SELECT id FROM conversations WHERE id = ? AND (initiator_id = ? OR assigned_expert_id = ?)
