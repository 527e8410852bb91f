-- import.source_columns
SELECT table_name, column_name, data_type
FROM information_schema.columns
WHERE table_schema = DATABASE()
