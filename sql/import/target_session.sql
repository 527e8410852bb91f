-- import.target_session: a page may take longer than a request
SET SESSION wait_timeout = 28800, innodb_lock_wait_timeout = 60
    /*M!100600 , idle_transaction_timeout = 600, max_statement_time = 0 */ /*!80000 , max_execution_time = 0 */
