-- bookstore.provider_by_id
SELECT id, name, coverage_area, cost FROM delivery_providers WHERE id = ?
