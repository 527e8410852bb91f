-- helpdesk.profile_insert
INSERT INTO expert_profiles (user_id, bio, knowledge_base_links, created_at, updated_at)
VALUES (?, '', '[]', NOW(6), NOW(6))
