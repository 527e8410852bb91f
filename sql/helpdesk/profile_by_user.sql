-- helpdesk.profile_by_user: only of a user who is there
SELECT p.id, p.user_id, p.bio, p.knowledge_base_links, p.created_at, p.updated_at
FROM expert_profiles p
JOIN users u ON u.id = p.user_id
WHERE p.user_id = ?
