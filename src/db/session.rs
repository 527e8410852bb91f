//! What a session is told at its start, so that statements mean the same whatever server they reach: its
//! configuration, its `init_connect` and its version's defaults may say anything else.
//!
//! Pinned is what changes the result of a statement of ours, whether it is refused, or when it gives up.
//! [`SETTINGS`] is the whole list. Left alone, because no statement of ours depends on it:
//! - how fast things are: buffers, caches, optimizer switches, `auto_increment_increment` (which clusters need);
//! - what columns and tables get where they do not say: each says its type, character set, engine and row format;
//! - `group_concat_max_len`, `div_precision_increment`, `max_sort_length`, `cte_max_recursion_depth`,
//!   `default_week_format`, `lc_time_names`, `default_regex_flags`, `block_encryption_mode`: a test sees that no
//!   statement uses what they govern;
//! - warnings and the language of messages (`sql_notes`, `lc_messages`): errors are told by number;
//! - what only an administrator may set (`sql_log_bin`, `binlog_format`), or which refuses to be set on some
//!   servers (`timestamp`, under MariaDB's `secure_timestamp`).

/// Whose variable it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Both have it under this name.
    Both,
    /// MariaDB.
    MariaDb,
    /// MySQL.
    MySql,
}

/// A variable of the session and the value it is given.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Whose it is.
    pub vendor: Vendor,
    /// Its name.
    pub name: &'static str,
    /// Its value, as SQL.
    pub value: &'static str,
    /// What went wrong without it.
    pub reason: &'static str,
}

macro_rules! settings {
    ($($vendor:ident $name:ident = $value:literal: $reason:literal;)+) => {
        /// All of them, in the order in which they are set.
        pub const SETTINGS: &[Setting] =
            &[$(Setting { vendor: Vendor::$vendor, name: stringify!($name), value: $value, reason: $reason }),+];
    };
}

settings! {
    // What SET NAMES does, as variables. The collation is that of most columns; where a column has another one,
    // the column's counts, as a literal gives way to it. So only literals among themselves are compared by it.
    Both character_set_client = "'utf8mb4'": "text would be taken for Latin-1 and stored twice encoded";
    Both character_set_results = "'utf8mb4'": "text would come back in another encoding, or as question marks";
    Both collation_connection = "'utf8mb4_bin'": "literals would lose what their character set lacks";
    Both time_zone = "'+00:00'": "NOW(6) would be local time";
    Both sql_mode = "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'":
        "values would be cut instead of refused, quotes and operators would mean something else";
    Both sql_auto_is_null = "0": "id IS NULL would find the row inserted last";
    Both autocommit = "1": "a statement outside a transaction would never be committed";
    Both completion_type = "'NO_CHAIN'": "COMMIT would begin another transaction, or close the connection";
    Both sql_safe_updates = "0": "an UPDATE without a key would be refused";
    Both sql_select_limit = "18446744073709551615": "lists would be cut";
    // With it max_join_size does not count.
    Both sql_big_selects = "1": "reads that look long would be refused";
    Both unique_checks = "1": "duplicates might be let in";
    Both foreign_key_checks = "1": "keys that an operator added would not count";
    MariaDb check_constraint_checks = "1": "a stock might fall below zero";
    // READ COMMITTED: src/feed/sequencer.rs needs statements that lock no gaps and see what is committed.
    MariaDb tx_isolation = "'READ-COMMITTED'": "readers would lock writers out, or see an old snapshot";
    MySql transaction_isolation = "'READ-COMMITTED'": "readers would lock writers out, or see an old snapshot";
    MariaDb tx_read_only = "0": "every write would be refused";
    MySql transaction_read_only = "0": "every write would be refused";
    // Limits; the constants of pool.rs in the server's units.
    Both innodb_lock_wait_timeout = "1": "a row lock would be waited for 50 s";
    Both lock_wait_timeout = "1": "a table that is altered would be waited for a day, or a year";
    MariaDb wait_timeout = "600": "the locks of an instance that was cut off would stay for 8 h";
    MySql wait_timeout = "20": "the same, and within a transaction, for which it has no limit of its own";
    MariaDb idle_transaction_timeout = "10": "the same, within a transaction";
    MariaDb max_statement_time = "2.5": "the server would go on with what nobody waits for";
    MySql max_execution_time = "2500": "the server would go on with what nobody waits for";
}

/// All settings as one statement, for one exchange. What one vendor lacks stands in a comment that only the
/// other executes: MariaDB skips those of MySQL 8, MySQL those that begin with `M!`.
pub(super) fn setup() -> String {
    let mut text = String::from("SET SESSION ");
    for (place, Setting { vendor, name, value, .. }) in SETTINGS.iter().enumerate() {
        let comma = if place > 0 { ", " } else { "" };
        let assignment = format!("{comma}{name} = {value}");
        text += &match vendor {
            Vendor::Both => assignment,
            Vendor::MariaDb => format!(" /*M!100600 {assignment} */"),
            Vendor::MySql => format!(" /*!80000 {assignment} */"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::pool;
    use super::*;

    #[test]
    fn the_limits_are_the_pools() {
        let limits = [
            ("innodb_lock_wait_timeout", pool::LOCK_WAIT_S_MAX.to_string()),
            ("lock_wait_timeout", pool::LOCK_WAIT_S_MAX.to_string()),
            ("wait_timeout", pool::SESSION_IDLE_S_MAX.to_string()),
            ("idle_transaction_timeout", pool::TRANSACTION_IDLE_S_MAX.to_string()),
            ("max_statement_time", (pool::SERVER_STATEMENT_MS_MAX as f64 / 1_000.0).to_string()),
            ("max_execution_time", pool::SERVER_STATEMENT_MS_MAX.to_string()),
        ];
        for (name, value) in limits {
            let setting = SETTINGS.iter().find(|setting| setting.name == name).expect(name);
            assert_eq!(setting.value, value, "{name}");
        }
        let is_idle = |setting: &&Setting| setting.vendor == Vendor::MySql && setting.name == "wait_timeout";
        let idle = SETTINGS.iter().find(is_idle).expect("a limit of MySQL's own");
        assert_eq!(idle.value, pool::MYSQL_IDLE_S_MAX.to_string());
    }

    #[test]
    fn each_vendor_gets_one_list() {
        // A comma in front of each but the first, also where a vendor skips one.
        assert_eq!(SETTINGS[0].vendor, Vendor::Both);
        let text = setup();
        assert!(text.starts_with("SET SESSION character_set_client = 'utf8mb4', "), "{text}");
        assert!(
            text.contains(" /*M!100600 , tx_read_only = 0 */ /*!80000 , transaction_read_only = 0 */,"),
            "{text}"
        );
    }
}
