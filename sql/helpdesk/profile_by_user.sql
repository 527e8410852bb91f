-- helpdesk.profile_by_user
SELECT id, user_id, bio, knowledge_base_links, created_at, updated_at FROM expert_profiles WHERE user_id = ?
