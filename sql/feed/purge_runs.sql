-- feed.purge_runs
DELETE FROM runs WHERE seq <= ? ORDER BY seq LIMIT 500
