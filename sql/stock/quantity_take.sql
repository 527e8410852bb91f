-- stock.quantity_take
UPDATE hyper_stock SET quantity = quantity - LAST_INSERT_ID(LEAST(quantity, ?)) WHERE id = 1 AND quantity > 0
