-- import.conversation_initiators: which of these the source has, and who asks in them
SELECT id, initiator_id FROM conversations WHERE id IN (?)
