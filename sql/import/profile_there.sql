-- import.profile_there: what is here already
SELECT id, user_id, bio, knowledge_base_links, created_at, updated_at
FROM expert_profiles
WHERE id BETWEEN ? AND ?
