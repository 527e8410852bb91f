//! What one would write with axum, sqlx and jsonwebtoken: the three update endpoints and POST /messages on hyperdesk's
//! schema, one query for each poll. It numbers nothing and tells nobody: a `since` is compared with the row's own time,
//! which loses updates that commit late. See ../README.md.

use std::env;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, NaiveDateTime};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::{FromRow, Row};

/// Rows of one answer, as hyperdesk's.
const LIST_MAX: i64 = 1_000;
const QUEUE_PAGE: i64 = 100;

const CONVERSATION: &str = "SELECT c.id, c.title, c.status, c.initiator_id, i.username AS initiator, \
    c.assigned_expert_id, x.username AS expert, c.created_at, c.updated_at, c.last_message_at, \
    c.unread - IF(c.initiator_id = ?, c.unread_from_initiator, c.unread_from_expert) AS unread, c.message_count \
    FROM conversations c JOIN users i ON i.id = c.initiator_id LEFT JOIN users x ON x.id = c.assigned_expert_id ";

#[derive(Clone)]
struct App {
    pool: MySqlPool,
    key: DecodingKey,
}

enum Error {
    Unauthorized,
    Invalid(&'static str),
    NotFound,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Invalid(text) => (StatusCode::BAD_REQUEST, text),
            Self::NotFound => (StatusCode::NOT_FOUND, "Conversation not found"),
            Self::Database(error) => {
                eprintln!("{error}");
                (StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
            }
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}

#[derive(Deserialize)]
struct Claims {
    user_id: i64,
}

/// The caller.
struct User(i64);

impl FromRequestParts<App> for User {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Error::Unauthorized)?;
        let claims = decode::<Claims>(token, &app.key, &Validation::new(Algorithm::HS256));
        claims.map(|token| Self(token.claims.user_id)).map_err(|_| Error::Unauthorized)
    }
}

#[derive(Deserialize)]
struct Since {
    since: Option<String>,
}

impl Since {
    fn time(&self) -> Result<NaiveDateTime, Error> {
        let Some(text) = &self.since else { return Ok(DateTime::UNIX_EPOCH.naive_utc()) };
        let time = DateTime::parse_from_rfc3339(text).map(|time| time.naive_utc());
        time.or_else(|_| text.parse()).map_err(|_| Error::Invalid("Invalid timestamp format"))
    }
}

fn iso(time: NaiveDateTime) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conversation {
    id: String,
    title: String,
    status: String,
    questioner_id: String,
    questioner_username: String,
    assigned_expert_id: Option<String>,
    assigned_expert_username: Option<String>,
    created_at: String,
    updated_at: String,
    last_message_at: Option<String>,
    unread_count: i64,
    message_count: i64,
}

/// sqlx takes a text column with a `_bin` collation for bytes, so what it holds is not checked against the column's type.
fn words<T>(row: &MySqlRow, column: impl sqlx::ColumnIndex<MySqlRow>) -> Result<T, sqlx::Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::MySql>,
{
    row.try_get_unchecked(column)
}

/// A number that the contract shows as text.
fn text(row: &MySqlRow, name: &str) -> Result<String, sqlx::Error> {
    Ok(row.try_get::<i64, _>(name)?.to_string())
}

fn time(row: &MySqlRow, name: &str) -> Result<String, sqlx::Error> {
    Ok(iso(row.try_get(name)?))
}

impl FromRow<'_, MySqlRow> for Conversation {
    fn from_row(row: &MySqlRow) -> Result<Self, sqlx::Error> {
        let expert: Option<i64> = row.try_get("assigned_expert_id")?;
        let last_message_at: Option<NaiveDateTime> = row.try_get("last_message_at")?;
        Ok(Self {
            id: text(row, "id")?,
            title: words(row, "title")?,
            status: words(row, "status")?,
            questioner_id: text(row, "initiator_id")?,
            questioner_username: words(row, "initiator")?,
            assigned_expert_id: expert.map(|id| id.to_string()),
            assigned_expert_username: words(row, "expert")?,
            created_at: time(row, "created_at")?,
            updated_at: time(row, "updated_at")?,
            last_message_at: last_message_at.map(iso),
            unread_count: row.try_get("unread")?,
            message_count: row.try_get("message_count")?,
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    id: String,
    conversation_id: String,
    sender_id: String,
    sender_username: String,
    sender_role: String,
    content: String,
    timestamp: String,
    is_read: bool,
}

impl FromRow<'_, MySqlRow> for Message {
    fn from_row(row: &MySqlRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: text(row, "id")?,
            conversation_id: text(row, "conversation_id")?,
            sender_id: text(row, "sender_id")?,
            sender_username: words(row, "sender")?,
            sender_role: words(row, "sender_role")?,
            content: words(row, "content")?,
            timestamp: time(row, "created_at")?,
            is_read: row.try_get("is_read")?,
        })
    }
}

async fn conversations(
    State(app): State<App>,
    User(user): User,
    Query(since): Query<Since>,
) -> Result<Json<Vec<Conversation>>, Error> {
    let text = format!(
        "{CONVERSATION} WHERE (c.initiator_id = ? OR c.assigned_expert_id = ?) AND c.updated_at > ? \
         ORDER BY c.updated_at, c.id LIMIT ?"
    );
    let query = sqlx::query_as::<_, Conversation>(&text).bind(user).bind(user).bind(user);
    let rows = query.bind(since.time()?).bind(LIST_MAX).fetch_all(&app.pool).await?;
    Ok(Json(rows))
}

async fn messages(
    State(app): State<App>,
    User(user): User,
    Query(since): Query<Since>,
) -> Result<Json<Vec<Message>>, Error> {
    let query = sqlx::query_as::<_, Message>(
        "SELECT m.id, m.conversation_id, m.sender_id, u.username AS sender, m.sender_role, m.content, m.created_at, \
         m.is_read FROM messages m JOIN conversations c ON c.id = m.conversation_id JOIN users u ON u.id = m.sender_id \
         WHERE (c.initiator_id = ? OR c.assigned_expert_id = ?) AND m.created_at > ? ORDER BY m.created_at, m.id LIMIT ?",
    );
    let rows = query.bind(user).bind(user).bind(since.time()?).bind(LIST_MAX).fetch_all(&app.pool).await?;
    Ok(Json(rows))
}

/// Nothing, or the whole queue, where something in it is newer.
async fn queue(
    State(app): State<App>,
    User(user): User,
    Query(since): Query<Since>,
) -> Result<Json<serde_json::Value>, Error> {
    let newest = sqlx::query(
        "SELECT GREATEST(COALESCE((SELECT MAX(updated_at) FROM conversations WHERE status = 'waiting'), '1970-01-01'), \
         COALESCE((SELECT MAX(updated_at) FROM conversations WHERE assigned_expert_id = ?), '1970-01-01')) > ?",
    );
    let is_news: i64 = newest.bind(user).bind(since.time()?).fetch_one(&app.pool).await?.try_get(0)?;
    if is_news == 0 {
        return Ok(Json(json!([])));
    }
    let list = async |condition: &str, value: Option<i64>, order: &str| {
        let text = format!("{CONVERSATION} WHERE {condition} ORDER BY {order}, c.id LIMIT ?");
        let mut query = sqlx::query_as::<_, Conversation>(&text).bind(user);
        if let Some(value) = value {
            query = query.bind(value);
        }
        Ok::<Vec<Conversation>, Error>(query.bind(QUEUE_PAGE).fetch_all(&app.pool).await?)
    };
    let waiting = list("c.status = 'waiting'", None, "c.created_at").await?;
    let assigned =
        list("c.assigned_expert_id = ? AND c.status = 'active'", Some(user), "c.updated_at DESC").await?;
    Ok(Json(json!([{ "waitingConversations": waiting, "assignedConversations": assigned }])))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewMessage {
    conversation_id: String,
    content: String,
}

/// The inserts of hyperdesk's POST /messages, without the feed's row.
async fn post_message(
    State(app): State<App>,
    User(user): User,
    Json(new): Json<NewMessage>,
) -> Result<(StatusCode, Json<Message>), Error> {
    let conversation: i64 = new.conversation_id.parse().map_err(|_| Error::NotFound)?;
    let mut transaction = app.pool.begin().await?;
    sqlx::query(
        "UPDATE conversations SET message_count = message_count + 1, \
         updated_at = GREATEST(NOW(6), updated_at + INTERVAL 1 MICROSECOND), last_message_at = updated_at, \
         message_counted_at = updated_at, unread = unread + 1, \
         unread_from_initiator = unread_from_initiator + (initiator_id = ?), \
         unread_from_expert = unread_from_expert + (assigned_expert_id <=> ?) \
         WHERE id = ? AND (initiator_id = ? OR assigned_expert_id = ?)",
    )
    .bind(user)
    .bind(user)
    .bind(conversation)
    .bind(user)
    .bind(user)
    .execute(&mut *transaction)
    .await?;
    let row = sqlx::query(
        "SELECT c.last_message_at, IF(c.initiator_id = u.id, 'initiator', 'expert') AS role, u.username \
         FROM conversations c JOIN users u ON u.id = ? \
         WHERE c.id = ? AND (c.initiator_id = u.id OR c.assigned_expert_id = u.id)",
    )
    .bind(user)
    .bind(conversation)
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or(Error::NotFound)?;
    let at: NaiveDateTime = row.try_get(0)?;
    let (role, name): (String, String) = (words(&row, 1)?, words(&row, 2)?);
    let inserted = sqlx::query(
        "INSERT INTO messages (conversation_id, sender_id, content, sender_role, created_at, updated_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(conversation)
    .bind(user)
    .bind(&new.content)
    .bind(&role)
    .bind(at)
    .bind(at)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let message = Message {
        id: inserted.last_insert_id().to_string(),
        conversation_id: new.conversation_id,
        sender_id: user.to_string(),
        sender_username: name,
        sender_role: role,
        content: new.content,
        timestamp: iso(at),
        is_read: false,
    };
    Ok((StatusCode::CREATED, Json(message)))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn main() {
    let workers = variable("WEB_CONCURRENCY").parse().expect("WEB_CONCURRENCY is a number");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(serve());
}

async fn serve() {
    // sqlx sets each connection's time zone to UTC.
    let options: MySqlConnectOptions = variable("DATABASE_URL").parse().expect("DATABASE_URL is a URL");
    let size = variable("DB_POOL_SIZE").parse().expect("DB_POOL_SIZE is a number");
    let pool = MySqlPoolOptions::new().max_connections(size).connect_with(options).await.expect("a database");
    let app = App { pool, key: DecodingKey::from_secret(variable("SECRET_KEY_BASE").as_bytes()) };
    let router = Router::new()
        .route("/health", get(async || Json(json!({ "status": "ok" }))))
        .route("/api/conversations/updates", get(conversations))
        .route("/api/messages/updates", get(messages))
        .route("/api/expert-queue/updates", get(queue))
        .route("/messages", post(post_message))
        .with_state(app);
    let listener =
        tokio::net::TcpListener::bind(("127.0.0.1", variable("PORT").parse().expect("PORT is a number")))
            .await
            .expect("a free port");
    axum::serve(listener, router).await.expect("serving");
}
