-- datetime.date_time_insert
INSERT INTO date_times (at) VALUES (?)
