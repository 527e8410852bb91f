-- feed.event_signed_out
INSERT INTO events (kind, sid, sid_expires_at) VALUES ('signed_out', ?, ?)
