-- bookstore.purchase_pay
UPDATE purchases
SET status = 'Paid', payment_method = ?, paid_at = NOW(6), updated_at = NOW(6)
WHERE id = ? AND buyer_id = ? AND status = 'Pending Payment'
