-- import.source_session: one snapshot for all that is read, and not a byte is written
SET SESSION TRANSACTION READ ONLY;
SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SET SESSION wait_timeout = 28800
    /*M!100600 , idle_transaction_timeout = 0, max_statement_time = 0 */ /*!80000 , max_execution_time = 0 */;
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY
