//! The board's SQL: one function for each statement, one statement for each file in `sql/board/`.

use crate::db::{Connection, Error};

use super::model::{NEWEST, Post};

crate::statements! { "board":
    POST_INSERT = "post_insert";
    POST_LIST = "post_list";
    UPLOAD_BEGIN = "upload_begin";
    UPLOAD_END = "upload_end";
    UPLOAD_LIST_OVERDUE = "upload_list_overdue";
    UPLOAD_CLAIM = "upload_claim";
    UPLOAD_FORGET = "upload_forget";
}

type Outcome<T> = Result<T, Error>;

crate::records! { Post { id, message, picture, created_at } }

/// Makes a post.
pub async fn post_insert(db: &mut Connection, message: &str, picture: &str) -> Outcome<()> {
    db.run(&POST_INSERT, (message, picture)).await.map(drop)
}

/// The newest posts, newest first.
pub async fn post_list(db: &mut Connection) -> Outcome<Vec<Post>> {
    db.rows(&POST_LIST, (NEWEST,)).await
}

/// Notes that a picture is about to be stored, and is an orphan if it still stands here in so many seconds.
pub async fn upload_begin(db: &mut Connection, picture: &str, orphan_seconds: u64) -> Outcome<()> {
    db.run(&UPLOAD_BEGIN, (picture, orphan_seconds)).await.map(drop)
}

/// Strikes an upload out that came to its end; false when it was swept before.
pub async fn upload_end(db: &mut Connection, picture: &str) -> Outcome<bool> {
    Ok(db.run(&UPLOAD_END, (picture,)).await?.affected == 1)
}

/// Some of the orphans, oldest first.
pub async fn upload_list_overdue(db: &mut Connection, rows_max: u64) -> Outcome<Vec<String>> {
    db.rows(&UPLOAD_LIST_OVERDUE, (rows_max,)).await
}

/// Takes an orphan for so many seconds; false when somebody else has it.
pub async fn upload_claim(db: &mut Connection, picture: &str, lease_seconds: u64) -> Outcome<bool> {
    Ok(db.run(&UPLOAD_CLAIM, (lease_seconds, picture)).await?.affected == 1)
}

/// Forgets an orphan whose picture is gone.
pub async fn upload_forget(db: &mut Connection, picture: &str) -> Outcome<()> {
    db.run(&UPLOAD_FORGET, (picture,)).await.map(drop)
}
