-- bookstore.provider_list
SELECT id, name, coverage_area, cost FROM delivery_providers ORDER BY id LIMIT ?
