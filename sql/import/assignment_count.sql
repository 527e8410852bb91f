-- import.assignment_count: of the source
SELECT COUNT(*) FROM expert_assignments
