-- datetime.date_time_purge
DELETE FROM date_times WHERE id <= ? ORDER BY id LIMIT ?
