-- feed.head: where the feed is, and where the changes that lead up to it without a gap begin
SELECT h.seq, h.at, NOW(6), (SELECT MAX(seq) FROM events), (SELECT MIN(seq) FROM events), run.seq, run.at
FROM feed_head h
LEFT JOIN (
    SELECT e.seq, e.at
    FROM feed_head f
    JOIN events e ON e.seq >= f.seq - 10000
    LEFT JOIN events p ON p.seq = e.seq - 1
    WHERE f.id = 1 AND (p.seq IS NULL OR e.seq = f.seq - 10000)
    ORDER BY e.seq DESC
    LIMIT 1
) run ON TRUE
WHERE h.id = 1
