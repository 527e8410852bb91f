-- datetime.date_time_latest
SELECT at FROM date_times ORDER BY id DESC LIMIT 1
