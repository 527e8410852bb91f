//! The matrix: everybody but the owner, at every route, with every id.

use std::io::ErrorKind;
use std::time::Duration;

use hyperdesk::chassis::route::{Access, Spec};
use ring::hmac;
use serde_json::json;

use super::{NO_SESSION, REQUIRED, forge, now, session_token};
use crate::helpdesk::{Desk, ask, claim, path_of, say, specs};
use crate::support::http::Request;
use crate::support::{Client, Response, User};

/// What the matrix looks for in answers, and compares before and after.
struct Victim {
    ann: User,
    eve: User,
    conversation: String,
    message: String,
}

const SECRET_TITLE: &str = "MARK-title-7391";
const SECRET_CONTENT: &str = "MARK-content-7391";

impl Victim {
    async fn make(desk: &Desk) -> Victim {
        // Ids that no table shares, so that an id of the one is never by chance one of the other.
        for (table, from) in
            [("users", 3_000), ("conversations", 5_000), ("messages", 7_000), ("expert_assignments", 9_000)]
        {
            desk.schema.execute(format!("ALTER TABLE {table} AUTO_INCREMENT = {from}")).await;
        }
        let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
        let conversation = ask(&ann, SECRET_TITLE).await;
        claim(&eve, &conversation).await;
        let message = say(&ann, &conversation, SECRET_CONTENT).await;
        say(&eve, &conversation, SECRET_CONTENT).await;
        eve.put("/expert/profile", json!({"bio": SECRET_CONTENT})).await.expect_status(200);
        Victim { ann, eve, conversation, message }
    }

    /// Everything of theirs that a stranger could change.
    async fn state(&self, desk: &Desk) -> Vec<String> {
        let (ann, eve, conversation) = (self.ann.id, self.eve.id, &self.conversation);
        let mut state = Vec::new();
        for query in [
            format!(
                "SELECT CONCAT_WS('|', id, title, status, initiator_id, IFNULL(assigned_expert_id, '-'), updated_at) FROM conversations WHERE initiator_id = {ann} ORDER BY id"
            ),
            format!(
                "SELECT CONCAT_WS('|', id, sender_id, content, is_read, updated_at) FROM messages WHERE conversation_id = {conversation} ORDER BY id"
            ),
            format!(
                "SELECT CONCAT_WS('|', id, bio, knowledge_base_links, updated_at) FROM expert_profiles WHERE user_id IN ({ann}, {eve}) ORDER BY id"
            ),
            format!(
                "SELECT CONCAT_WS('|', id, username, password_digest, last_active_at) FROM users WHERE id IN ({ann}, {eve}) ORDER BY id"
            ),
            format!(
                "SELECT CONCAT_WS('|', id, expert_id, status) FROM expert_assignments WHERE conversation_id = {conversation} ORDER BY id"
            ),
        ] {
            state.extend(desk.schema.query::<String>(query).await);
        }
        state
    }
}

/// Everyone who is not the owner.
const CALLERS: [&str; 6] = ["other user", "stranger", "anonymous", "expired", "signed out", "forged"];

/// The token that a caller shows: a fresh one each time, because signing out is among the routes.
fn credentials(who: &str, victim: i64, other: i64, signed_out: &str) -> Option<String> {
    match who {
        "other user" => Some(session_token(other, 600)),
        "stranger" => Some(session_token(987_654_321, 600)),
        "expired" => Some(session_token(victim, -1)),
        "signed out" => Some(signed_out.to_owned()),
        "forged" => Some(forge(
            &json!({"alg": "HS256", "typ": "JWT"}),
            &json!({"user_id": victim, "iat": now(), "exp": now() + 600}),
            hmac::HMAC_SHA256,
            "not-the-secret-not-the-secret-not-the-secret",
        )),
        _ => None,
    }
}

/// The requests of one route with one id, as one caller: with and without naming the victim, by token and cookie.
fn requests<'c>(
    client: &'c Client,
    spec: &Spec,
    id: &str,
    victim: i64,
    token: Option<&str>,
) -> Vec<Request<'c>> {
    let path = path_of(spec.label, id);
    let named = format!("{path}?userId={victim}&expertId={victim}");
    let mut requests = Vec::new();
    for path in [&path, &named] {
        for by_cookie in [false, true] {
            let mut request = client.request(spec.method, path);
            if let Some(token) = token {
                request = match by_cookie {
                    false => request.bearer(token),
                    true => request.header("cookie", format!("hyperdesk_session={token}")),
                };
            }
            if spec.body_bytes_max > 0 {
                request = request.json(json!({
                    "conversationId": id, "userId": id, "id": id, "content": "x", "title": "x", "bio": "x",
                }));
            }
            requests.push(request);
        }
    }
    requests
}

/// What may be answered to somebody who is not the owner.
fn judge(spec: &Spec, who: &str, what: &str, answer: &Response) {
    let (status, text) = (answer.status, answer.text());
    assert!(!text.contains("MARK-"), "{what}: {text}");
    assert!(status < 500, "{what}: {status} {text}");
    // The stranger's token is signed well, but there is no such user.
    let is_user = who == "other user";
    match spec.access {
        Access::User if !is_user => assert_eq!((status, text.as_str()), (401, REQUIRED), "{what}"),
        Access::Session if !is_user => assert_eq!((status, text.as_str()), (401, NO_SESSION), "{what}"),
        Access::User if spec.label.contains(':') => {
            assert!(matches!(status, 403 | 404 | 422), "{what}: {status} {text}");
        }
        _ => {}
    }
}

#[tokio::test]
async fn nobody_reaches_what_is_somebody_elses() {
    let desk = Desk::start_with(&[("SERVICES", "")]).await;
    let victim = Victim::make(&desk).await;
    let bob = desk.user("bob").await;
    let (ann, eve) = (victim.ann.id.to_string(), victim.eve.id.to_string());
    let ids = [&victim.conversation, &victim.message, &ann, &eve, "9000", "999999999"].map(str::to_owned);
    let signed_out = User::login(desk.addr(), "ann", &victim.ann.password).await;
    signed_out.post("/auth/logout", json!({})).await.expect_status(200);
    let before = victim.state(&desk).await;
    let client = desk.client();
    let mut tried = 0;
    for spec in specs() {
        let ids = if spec.label.contains(':') { &ids[..] } else { &ids[..1] };
        // A stream goes on after an answer that lets the caller in.
        let is_stream = spec.label.ends_with("/stream");
        let limit = Duration::from_secs(if is_stream { 1 } else { 30 });
        for (id, who) in ids.iter().flat_map(|id| CALLERS.map(|who| (id, who))) {
            let token = credentials(who, victim.ann.id, bob.id, &signed_out.token);
            for request in requests(&client, &spec, id, victim.ann.id, token.as_deref()) {
                let what = format!("{who}: {} {} {id}", spec.method, spec.label);
                match request.limit(limit).try_send().await {
                    Ok(answer) => judge(&spec, who, &what, &answer),
                    Err(error) if is_stream && error.kind() == ErrorKind::TimedOut => {}
                    Err(error) => panic!("{what}: {error}"),
                }
                tried += 1;
            }
        }
    }
    println!("{tried} requests");
    assert_eq!(victim.state(&desk).await, before, "nothing of theirs changed");
    for (side, path) in [(&victim.ann, "/conversations"), (&victim.eve, "/expert/profile")] {
        assert!(side.get(path).await.expect_status(200).text().contains("MARK-"));
    }
}
