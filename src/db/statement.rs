//! SQL statements: each a file below `sql/`, prepared, never built at run time.

/// One prepared statement. The name is the file's, the metric's label and the first line of the text, so
/// that the database's slow log names its caller.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// Such as `helpdesk.message_insert`.
    pub name: &'static str,
    /// The text, parameters as `?`.
    pub sql: &'static str,
}

/// Declares the statements of one `store.rs`: a constant each, and all of them as `STATEMENTS`.
///
/// `statements! { "helpdesk": MESSAGE_INSERT = "message_insert"; }` includes `sql/helpdesk/message_insert.sql`.
#[macro_export]
macro_rules! statements {
    ($folder:literal: $($constant:ident = $file:literal;)+) => {
        $(const $constant: $crate::db::Statement = $crate::db::Statement {
            name: concat!($folder, ".", $file),
            sql: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $folder, "/", $file, ".sql")),
        };)+
        /// Every statement of this store, for the test that prepares them all.
        pub const STATEMENTS: &[$crate::db::Statement] = &[$($constant),+];
    };
}
