-- helpdesk.outbox_rest: what the next runs number: whatever of it a conversation shows, these runs show
SELECT id, kind, conversation_id, expert_id FROM outbox WHERE id > ? ORDER BY id LIMIT 10000
