-- feed.record_signed_out
INSERT INTO outbox (kind, sid, sid_expires_at) VALUES ('signed_out', ?, ?);
COMMIT
