-- stock.quantity_set
INSERT INTO hyper_stock (id, quantity) VALUES (1, ?) ON DUPLICATE KEY UPDATE quantity = ?
