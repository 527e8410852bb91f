-- feed.event_insert
INSERT INTO events (kind, conversation_id, message_id, initiator_id, expert_id, former_expert_id)
SELECT ?, c.id, ?, c.initiator_id, c.assigned_expert_id, ?
FROM conversations c
WHERE c.id = ?
