-- feed.runs: as many changes as one run may have, and no more than 8 MiB if that is more than one run
SELECT seq, first, after_at, at, bytes, body
FROM runs
WHERE seq > ? AND seq <= ? AND (bytes <= ? + 8388608 OR first = ?)
ORDER BY seq
