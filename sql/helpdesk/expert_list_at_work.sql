-- helpdesk.expert_list_at_work: of these users
SELECT DISTINCT assigned_expert_id FROM conversations WHERE assigned_expert_id IN (?) AND status = 'active'
