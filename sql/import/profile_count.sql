-- import.profile_count: of the source
SELECT COUNT(*) FROM expert_profiles
