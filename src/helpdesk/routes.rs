//! Every URL of the help desk. Pure: no I/O, no allocation.
#![allow(missing_docs)] // The variants are the rows of the URL table, with the same names.

use http::Method;
use strum::{EnumCount, EnumDiscriminants, EnumIter};

use crate::chassis::route::{self, Access, GET, GET_POST, GET_PUT, Miss, POST, PUT, SEGMENTS_MAX, Spec};
use crate::chassis::route::{by_method, row, segments};

/// A name and a password.
const CREDENTIALS_BYTES_MAX: usize = 16 * 1024;
/// A title, with its wrapper.
const CONVERSATION_BYTES_MAX: usize = 16 * 1024;
/// A message of 65,535 bytes, most of them escaped.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// A biography and its links, likewise.
const PROFILE_BYTES_MAX: usize = 256 * 1024;
/// Calls that need no body; Rails' clients send `{}`.
const NO_FIELDS_BYTES_MAX: usize = 1024;

/// A URL and what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumDiscriminants, EnumIter)]
pub enum Route {
    ConversationUpdates,
    MessageUpdates,
    QueueUpdates,
    Updates,
    UpdateStream,
    Register,
    Login,
    Logout,
    Refresh,
    Me,
    ConversationList,
    ConversationOpen,
    Conversation { id: u64 },
    MessageList { conversation: u64 },
    MessagePost,
    MessageRead { id: u64 },
    Queue,
    Claim { conversation: u64 },
    Unclaim { conversation: u64 },
    Resolve { conversation: u64 },
    Profile,
    ProfileUpdate,
    AssignmentHistory,
}

/// The route of a method and a path: those without an id by the whole path, which is one comparison for a poll,
/// those with one by its segments.
///
/// # Errors
/// A [`Miss`] tells 404 from 405.
pub fn find(method: &Method, path: &str) -> Result<Route, Miss> {
    let get = |route| by_method(method, GET, &[(Method::GET, route)]);
    let post = |route| by_method(method, POST, &[(Method::POST, route)]);
    match path {
        "/api/conversations/updates" => get(Route::ConversationUpdates),
        "/api/messages/updates" => get(Route::MessageUpdates),
        "/api/expert-queue/updates" => get(Route::QueueUpdates),
        "/api/updates" => get(Route::Updates),
        "/api/updates/stream" => get(Route::UpdateStream),
        "/auth/register" => post(Route::Register),
        "/auth/login" => post(Route::Login),
        "/auth/logout" => post(Route::Logout),
        "/auth/refresh" => post(Route::Refresh),
        "/auth/me" => get(Route::Me),
        "/conversations" => by_method(
            method,
            GET_POST,
            &[(Method::GET, Route::ConversationList), (Method::POST, Route::ConversationOpen)],
        ),
        "/messages" => post(Route::MessagePost),
        "/expert/queue" => get(Route::Queue),
        "/expert/profile" => {
            by_method(method, GET_PUT, &[(Method::GET, Route::Profile), (Method::PUT, Route::ProfileUpdate)])
        }
        "/expert/assignments/history" => get(Route::AssignmentHistory),
        _ => match segments(path, &mut [""; SEGMENTS_MAX]) {
            ["conversations", conversation] => get(Route::Conversation { id: row(conversation)? }),
            ["conversations", conversation, "messages"] => {
                get(Route::MessageList { conversation: row(conversation)? })
            }
            ["messages", message, "read"] => {
                by_method(method, PUT, &[(Method::PUT, Route::MessageRead { id: row(message)? })])
            }
            ["expert", "conversations", conversation, "claim"] => {
                post(Route::Claim { conversation: row(conversation)? })
            }
            ["expert", "conversations", conversation, "unclaim"] => {
                post(Route::Unclaim { conversation: row(conversation)? })
            }
            ["expert", "conversations", conversation, "resolve"] => {
                post(Route::Resolve { conversation: row(conversation)? })
            }
            _ => Err(Miss::Path),
        },
    }
}

impl route::Route for Route {
    crate::numbered!();

    fn spec(self) -> Spec {
        use Access::{Optional, Public, Session, User};
        match self {
            Self::ConversationUpdates => Spec::list("/api/conversations/updates", User),
            Self::MessageUpdates => Spec::list("/api/messages/updates", User),
            Self::QueueUpdates => Spec::get("/api/expert-queue/updates", User),
            Self::Updates => Spec::list("/api/updates", User),
            Self::UpdateStream => Spec::list("/api/updates/stream", User),
            Self::Register => Spec::post("/auth/register", Public, CREDENTIALS_BYTES_MAX),
            Self::Login => Spec::post("/auth/login", Public, CREDENTIALS_BYTES_MAX),
            Self::Logout => Spec::post("/auth/logout", Optional, NO_FIELDS_BYTES_MAX),
            Self::Refresh => Spec::post("/auth/refresh", Session, NO_FIELDS_BYTES_MAX),
            Self::Me => Spec::get("/auth/me", Session),
            Self::ConversationList => Spec::list("/conversations", User),
            Self::ConversationOpen => Spec::post("/conversations", User, CONVERSATION_BYTES_MAX),
            Self::Conversation { .. } => Spec::get("/conversations/:id", User),
            Self::MessageList { .. } => Spec::list("/conversations/:id/messages", User),
            Self::MessagePost => Spec::post("/messages", User, MESSAGE_BYTES_MAX),
            Self::MessageRead { .. } => Spec::put("/messages/:id/read", User, NO_FIELDS_BYTES_MAX),
            Self::Queue => Spec::list("/expert/queue", User),
            Self::Claim { .. } => Spec::post("/expert/conversations/:id/claim", User, NO_FIELDS_BYTES_MAX),
            Self::Unclaim { .. } => {
                Spec::post("/expert/conversations/:id/unclaim", User, NO_FIELDS_BYTES_MAX)
            }
            Self::Resolve { .. } => {
                Spec::post("/expert/conversations/:id/resolve", User, NO_FIELDS_BYTES_MAX)
            }
            Self::Profile => Spec::get("/expert/profile", User),
            Self::ProfileUpdate => Spec::put("/expert/profile", User, PROFILE_BYTES_MAX),
            Self::AssignmentHistory => Spec::list("/expert/assignments/history", User),
        }
    }
}
