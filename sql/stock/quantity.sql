-- stock.quantity
SELECT quantity FROM hyper_stock WHERE id = 1
