-- The bookstore. Sellers and buyers are the help desk's users. Money is DECIMAL, never a binary float.

CREATE TABLE IF NOT EXISTS books (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    seller_id BIGINT NOT NULL,
    -- Searched without regard to case and accents, hence a collation that has none.
    title VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL,
    author VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL,
    description TEXT NOT NULL,
    price DECIMAL(12, 2) NOT NULL,
    stock BIGINT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    -- A book that was sold stays, for the purchases that name it; it is only no longer offered.
    deleted_at DATETIME(6) NULL,
    KEY books_seller (seller_id, id),
    -- Never below zero, whatever the program does.
    CONSTRAINT books_stock CHECK (stock >= 0)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS delivery_providers (
    id BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    coverage_area VARCHAR(255) NOT NULL,
    cost DECIMAL(12, 2) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Repeatable, and an operator's change of a price stays.
INSERT IGNORE INTO delivery_providers (id, name, coverage_area, cost) VALUES
    (1, 'DHL', 'International', 50.00),
    (2, 'FedEx', 'International', 45.00),
    (3, 'Envia', 'National', 20.00),
    (4, 'Servientrega', 'National', 15.00);

CREATE TABLE IF NOT EXISTS purchases (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    book_id BIGINT NOT NULL,
    buyer_id BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    -- As it was when it was bought.
    unit_price DECIMAL(12, 2) NOT NULL,
    total_price DECIMAL(12, 2) NOT NULL,
    -- Pending Payment or Paid
    status VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    payment_method VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NULL,
    paid_at DATETIME(6) NULL,
    delivery_provider_id BIGINT NULL,
    -- As it was when it was chosen.
    delivery_cost DECIMAL(12, 2) NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    KEY purchases_buyer (buyer_id, id),
    KEY purchases_book (book_id, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How many changes each user made in the shop, counted by the transactions that make them: a reader that has
-- the count has the changes, too. See src/bookstore/marks.rs.
CREATE TABLE IF NOT EXISTS bookstore_marks (
    user_id BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
