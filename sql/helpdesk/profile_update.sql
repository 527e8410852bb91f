-- helpdesk.profile_update
INSERT INTO expert_profiles (user_id, bio, knowledge_base_links, created_at, updated_at)
VALUES (?, COALESCE(?, ''), COALESCE(?, '[]'), NOW(6), NOW(6))
ON DUPLICATE KEY UPDATE bio = COALESCE(?, bio), knowledge_base_links = COALESCE(?, knowledge_base_links),
    updated_at = NOW(6)
