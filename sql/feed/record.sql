-- feed.record: VALUES, not SELECT, which would keep other writers from their ids
INSERT INTO outbox (kind, conversation_id, message_id, former_expert_id, initiator_id, expert_id)
VALUES (?, ?, ?, ?,
    (SELECT initiator_id FROM conversations WHERE id = ?),
    (SELECT assigned_expert_id FROM conversations WHERE id = ?));
COMMIT
