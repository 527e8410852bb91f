-- import.assignment_page: of the source, whatever columns it has
SELECT * FROM expert_assignments WHERE id > ? ORDER BY id LIMIT 512
