//! The help desk's resources as clients see them, and what their input may be. Pure.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::auth::password::PASSWORD_BYTES_MAX;
use crate::chassis::request::{Fields, NoText};
use crate::chassis::text::{has_unseen, is_blank};
use crate::clock::Timestamp;

/// A list without `since` gives the newest so many, a list with `since` the oldest so many changes.
pub const LIST_MAX: u64 = 1_000;
/// Waiting conversations that an expert is shown, longest waiting first (`queue_list.sql`, `waiting_page.sql`).
pub const QUEUE_PAGE: u64 = 100;
/// Characters of a user's name; the column holds as many.
pub const USERNAME_CHARS_MAX: usize = 255;
/// Characters of a password, as the Rails original asks.
pub const PASSWORD_CHARS_MIN: usize = 6;
/// Characters of a title; the column holds as many.
pub const TITLE_CHARS_MAX: usize = 255;
/// Bytes of a message, of a biography, and of all links together; the columns hold as many.
pub const TEXT_BYTES_MAX: usize = 65_535;

/// Where a reply's `lastSeenMessageId` names nothing that can have been seen there.
pub const LAST_SEEN_UNKNOWN: &str = "lastSeenMessageId must be the id of a message of the conversation";

/// Bytes that JSON takes for a text, without its quotes.
pub fn json_bytes(text: &str) -> usize {
    let bytes = |byte| match byte {
        0..0x20 => "\\u0000".len(),
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.bytes().map(bytes).sum()
}

/// An id that is a string in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub u64);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(itoa::Buffer::new().format(self.0))
    }
}

/// A person; the one resource whose id is a number and whose names are in snake_case.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// `users.id`
    pub id: u64,
    /// Unique, byte for byte.
    pub username: String,
    /// When they registered.
    pub created_at: Timestamp,
    /// When they last signed in.
    pub last_active_at: Option<Timestamp>,
}

/// What an expert says of themselves.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct Profile {
    pub id: Id,
    pub user_id: Id,
    pub bio: String,
    pub knowledge_base_links: Vec<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One expert's turn at one conversation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct Assignment {
    pub id: Id,
    pub conversation_id: Id,
    pub expert_id: Id,
    pub status: String,
    pub assigned_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    pub rating: Option<i64>,
}

/// Texts of a validation's errors.
pub type Mistakes = Vec<Cow<'static, str>>;

/// What a sign-up or a sign-in sends.
#[derive(Clone)]
pub struct Credentials {
    /// As sent; blank when absent.
    pub username: String,
    /// As sent; empty when absent.
    pub password: String,
    /// Whether the password was sent a second time, and otherwise.
    pub is_unconfirmed: bool,
}

impl Credentials {
    /// Reads both; what is no text is blank.
    pub fn of(fields: &Fields) -> Self {
        let text = |name| fields.text(name).ok().flatten().unwrap_or_default();
        let password = text("password");
        let again = fields.text("passwordConfirmation");
        let is_unconfirmed =
            !matches!(again, Ok(again) if again.as_ref().is_none_or(|again| *again == password));
        Self { username: text("username"), password, is_unconfirmed }
    }

    /// What is wrong with them for a new account. Names are kept byte for byte, so what could not be told
    /// apart on a screen, or in the database's padded comparisons, is refused.
    pub fn mistakes(&self) -> Mistakes {
        let mut mistakes: Mistakes = Vec::new();
        let name = &self.username;
        if is_blank(name) {
            mistakes.push("Username can't be blank".into());
        } else if name.trim() != name {
            mistakes.push("Username can't begin or end with a space".into());
        } else if has_unseen(name) {
            mistakes.push("Username contains characters that cannot be seen".into());
        } else if name.chars().count() > USERNAME_CHARS_MAX {
            mistakes.push("Username is too long (maximum is 255 characters)".into());
        }
        if self.password.is_empty() {
            mistakes.push("Password can't be blank".into());
        } else if self.password.chars().count() < PASSWORD_CHARS_MIN {
            mistakes.push("Password is too short (minimum is 6 characters)".into());
        } else if self.password.len() > PASSWORD_BYTES_MAX {
            mistakes.push("Password is too long (maximum is 1024 bytes)".into());
        }
        if self.is_unconfirmed {
            mistakes.push("Password confirmation doesn't match Password".into());
        }
        mistakes
    }

    /// Whether an account could have them at all; what could not needs no look at the database. A space at the
    /// end would be overlooked there: it makes no other name of `ann ` than of `ann`.
    pub fn are_possible(&self) -> bool {
        let name = self.username.as_str();
        !name.is_empty()
            && name.trim() == name
            && name.chars().count() <= USERNAME_CHARS_MAX
            && (1..=PASSWORD_BYTES_MAX).contains(&self.password.len())
    }
}

/// A conversation's title.
///
/// # Errors
/// What is wrong with it.
pub fn title(fields: &Fields) -> Result<String, &'static str> {
    let title = fields.text("title").ok().flatten().filter(|title| !is_blank(title));
    let title = title.ok_or("Title can't be blank")?;
    if title.chars().count() > TITLE_CHARS_MAX {
        return Err("Title is too long (maximum is 255 characters)");
    }
    Ok(title)
}

/// A message's content.
///
/// # Errors
/// What is wrong with it.
pub fn content(fields: &Fields) -> Result<String, &'static str> {
    let content = fields.text("content").ok().flatten().filter(|content| !is_blank(content));
    let content = content.ok_or("Content can't be blank")?;
    if content.len() > TEXT_BYTES_MAX {
        return Err("Content is too long (maximum is 65535 bytes)");
    }
    Ok(content)
}

/// A message to be posted.
pub struct Reply {
    /// Where; `None` for what can be nowhere.
    pub conversation: Option<u64>,
    content: Result<String, &'static str>,
    last_seen: Result<Option<u64>, &'static str>,
}

impl Reply {
    /// Reads all of it.
    pub fn of(fields: &Fields) -> Self {
        let last_seen = match fields.value("lastSeenMessageId") {
            None => Ok(None),
            Some(_) => fields.id("lastSeenMessageId").map(Some).ok_or(LAST_SEEN_UNKNOWN),
        };
        Self { conversation: fields.id("conversationId"), content: content(fields), last_seen }
    }

    /// Bytes that JSON takes for the content.
    pub fn json_bytes(&self) -> usize {
        self.content.as_deref().map_or(0, json_bytes)
    }

    /// The content, and the newest message that its sender had seen, 0 where there was none; `None` where they do not
    /// say.
    ///
    /// # Errors
    /// All that is wrong with both.
    pub fn checked(&self) -> Result<(String, Option<u64>), Mistakes> {
        match (&self.content, self.last_seen) {
            (Ok(content), Ok(last_seen)) => Ok((content.clone(), last_seen)),
            (content, last_seen) => {
                let mistakes = [content.as_ref().err().copied(), last_seen.err()];
                Err(mistakes.into_iter().flatten().map(Cow::Borrowed).collect())
            }
        }
    }
}

/// What an expert changes of their profile; what is absent stays.
pub struct ProfileChange {
    /// The new biography.
    pub bio: Option<String>,
    /// The new links, as the JSON array that is stored.
    pub links: Option<String>,
}

impl ProfileChange {
    /// Reads both.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of(fields: &Fields) -> Result<Self, &'static str> {
        let links = match fields.value("knowledgeBaseLinks") {
            None => None,
            Some(value) => {
                let are_texts =
                    value.as_array().is_some_and(|links| links.iter().all(serde_json::Value::is_string));
                if !are_texts {
                    return Err("knowledgeBaseLinks must be an array of strings");
                }
                Some(value.to_string())
            }
        };
        let bio = fields.text("bio").map_err(|NoText| "Bio must be a string")?;
        if bio.as_ref().is_some_and(|bio| bio.len() > TEXT_BYTES_MAX) {
            return Err("Bio is too long (maximum is 65535 bytes)");
        }
        if links.as_ref().is_some_and(|links| links.len() > TEXT_BYTES_MAX) {
            return Err("knowledgeBaseLinks is too long (maximum is 65535 bytes)");
        }
        Ok(Self { bio, links })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(username: &str, password: &str) -> Mistakes {
        let (username, password) = (username.to_owned(), password.to_owned());
        Credentials { username, password, is_unconfirmed: false }.mistakes()
    }

    #[test]
    fn credentials_are_judged_by_the_contracts_texts() {
        assert_eq!(credentials("ann", "secret"), Mistakes::new());
        assert_eq!(credentials(" ", ""), ["Username can't be blank", "Password can't be blank"]);
        assert_eq!(credentials("ann", "12345"), ["Password is too short (minimum is 6 characters)"]);
        assert_eq!(credentials("ann", "ééééé"), ["Password is too short (minimum is 6 characters)"]);
        assert_eq!(credentials("ann", &"p".repeat(1025)), ["Password is too long (maximum is 1024 bytes)"]);
        assert_eq!(credentials("ann ", "secret"), ["Username can't begin or end with a space"]);
        assert_eq!(credentials("a\0n", "secret"), ["Username contains characters that cannot be seen"]);
        assert_eq!(credentials("\u{3164}", "secret"), ["Username can't be blank"]);
        assert_eq!(credentials(&"ä".repeat(255), "secret"), Mistakes::new());
        assert_eq!(
            credentials(&"ä".repeat(256), "secret"),
            ["Username is too long (maximum is 255 characters)"]
        );
    }

    fn fields(json: serde_json::Value) -> Fields {
        Fields::of_json(&json.to_string(), "message")
    }

    #[test]
    fn a_limit_is_the_longest_that_is_taken() {
        use serde_json::json;
        assert_eq!(credentials("ann", &"p".repeat(1024)), Mistakes::new());
        let long = "ä".repeat(TITLE_CHARS_MAX);
        assert_eq!(title(&fields(json!({ "title": long }))), Ok(long.clone()));
        let wrong = Err("Title is too long (maximum is 255 characters)");
        assert_eq!(title(&fields(json!({ "title": long + "x" }))), wrong);
        let long = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(content(&fields(json!({ "content": long }))), Ok(long.clone()));
        let wrong = Err("Content is too long (maximum is 65535 bytes)");
        assert_eq!(content(&fields(json!({ "content": long.clone() + "x" }))), wrong);
        for blank in [json!(null), json!(""), json!(" \u{200b}"), json!([]), json!(true)] {
            let fields = fields(json!({ "title": blank, "content": blank }));
            assert_eq!(title(&fields), Err("Title can't be blank"));
            assert_eq!(content(&fields), Err("Content can't be blank"));
        }

        let change = |json| ProfileChange::of(&fields(json)).map(|change| (change.bio, change.links));
        assert_eq!(change(json!({})), Ok((None, None)));
        assert_eq!(change(json!({ "bio": long })), Ok((Some(long.clone()), None)));
        let too_long = long.clone() + "x";
        assert_eq!(change(json!({ "bio": too_long })), Err("Bio is too long (maximum is 65535 bytes)"));
        assert_eq!(change(json!({ "bio": [] })), Err("Bio must be a string"));
        let links = |bytes: usize| json!({ "knowledgeBaseLinks": ["x".repeat(bytes - 4)] });
        assert_eq!(change(links(TEXT_BYTES_MAX)).unwrap().1.map(|text| text.len()), Some(TEXT_BYTES_MAX));
        let wrong = Err("knowledgeBaseLinks is too long (maximum is 65535 bytes)");
        assert_eq!(change(links(TEXT_BYTES_MAX + 1)), wrong);
        for wrong in [json!("x"), json!([1]), json!(["x", null]), json!({})] {
            let wrong = change(json!({ "knowledgeBaseLinks": wrong }));
            assert_eq!(wrong, Err("knowledgeBaseLinks must be an array of strings"));
        }
    }

    #[test]
    fn credentials_that_nobody_can_have_need_no_look() {
        let possible = |username: &str, password: &str| {
            let (username, password) = (username.to_owned(), password.to_owned());
            Credentials { username, password, is_unconfirmed: false }.are_possible()
        };
        let (name, secret) = ("ä".repeat(USERNAME_CHARS_MAX), "p".repeat(PASSWORD_BYTES_MAX));
        assert!(possible("ann", "x") && possible(&name, &secret));
        for (name, password) in [
            ("", "x"),
            ("ann ", "x"),
            (" ann", "x"),
            (&*format!("{name}x"), "x"),
            ("ann", &*format!("{secret}x")),
        ] {
            assert!(!possible(name, password), "{name} {password}");
        }
    }

    #[test]
    fn a_password_is_confirmed_where_it_is_sent_twice() {
        use serde_json::json;
        let is_unconfirmed = |again| {
            let sent = json!({ "username": "ann", "password": "secret", "passwordConfirmation": again });
            Credentials::of(&fields(sent)).is_unconfirmed
        };
        assert!(!is_unconfirmed(json!(null)) && !is_unconfirmed(json!("secret")));
        assert!(is_unconfirmed(json!("Secret")) && is_unconfirmed(json!("")) && is_unconfirmed(json!([])));
    }
}
