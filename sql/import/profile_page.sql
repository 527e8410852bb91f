-- import.profile_page: of the source, whatever columns it has
SELECT * FROM expert_profiles WHERE id > ? ORDER BY id LIMIT 512
