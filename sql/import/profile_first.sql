-- import.profile_first: of both databases: the first profile of each of these users
SELECT user_id, MIN(id) FROM expert_profiles WHERE user_id IN (?) AND id > 0 GROUP BY user_id
