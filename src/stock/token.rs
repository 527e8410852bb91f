//! POST /oauth/token: client credentials against an access token (RFC 6749 §4.4, errors by §5.2).
//!
//! Guessing is not slowed down: a secret has 256 bits. Unknown clients, revoked ones and wrong secrets get one
//! answer, in the same time.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, PRAGMA, WWW_AUTHENTICATE};
use http::{StatusCode, Uri};
use serde_json::json;

use crate::auth::oauth::{self, ACCESS_TOKEN_SECONDS, Grant};
use crate::chassis::{Error, Request, Response, response, route};
use crate::clock::Timestamp;

use super::model::Scope;
use super::{Stock, store};

/// The one way to get a token.
const GRANT_TYPE: &str = "client_credentials";
/// What may stand in the body, and must never stand in the URL.
const PARAMETERS: [&str; 4] = ["grant_type", "client_id", "client_secret", "scope"];
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Basic realm="hyperdesk""#);

/// A request that can be judged.
#[derive(Debug, PartialEq, Eq)]
pub struct TokenRequest {
    client_id: String,
    client_secret: String,
    /// As asked for; all that the client may have where none is.
    scope: Option<String>,
}

/// Why there is no token: the codes of RFC 6749 §5.2, and a word for the programmer at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Not a token request.
    InvalidRequest(&'static str),
    /// Who is asking?
    InvalidClient,
    /// A client that may use no grant, because no scope is left to it.
    UnauthorizedClient,
    /// Something else than client credentials.
    UnsupportedGrantType,
    /// A scope that there is not, or not for this client.
    InvalidScope,
}

use TokenRefusal::{InvalidClient, InvalidRequest, InvalidScope, UnauthorizedClient, UnsupportedGrantType};

impl From<TokenRefusal> for Error {
    fn from(refusal: TokenRefusal) -> Self {
        let (code, description) = match refusal {
            InvalidRequest(description) => ("invalid_request", description),
            InvalidClient => ("invalid_client", "Client authentication failed"),
            UnauthorizedClient => ("unauthorized_client", "No scope is left to this client"),
            UnsupportedGrantType => ("unsupported_grant_type", "Only client_credentials is supported"),
            InvalidScope => ("invalid_scope", "The scope is unknown or not granted to this client"),
        };
        let status =
            if refusal == InvalidClient { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        let answer = response::json(status, &json!({ "error": code, "error_description": description }));
        let mut answer = uncached(answer);
        if refusal == InvalidClient {
            // Also where Basic was not tried: no 401 without a challenge (RFC 9110 §15.5.2).
            answer.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        Self::Answer(Box::new(answer))
    }
}

fn uncached(answer: Response) -> Response {
    response::with_header(response::no_store(answer), PRAGMA, HeaderValue::from_static("no-cache"))
}

/// Reads a token request, without asking anyone.
///
/// # Errors
/// What is wrong with it, shape before credentials.
pub fn parse(request: &Request) -> Result<TokenRequest, TokenRefusal> {
    let mut fields = fields(&request.uri, &request.headers, &request.body)?;
    let grant_type = fields.take("grant_type").ok_or(InvalidRequest("grant_type is missing"))?;
    let (id, secret) = (fields.take("client_id"), fields.take("client_secret"));
    let (client_id, client_secret) = match basic(&request.headers)? {
        Some(_) if secret.is_some() => {
            return Err(InvalidRequest("Use either HTTP Basic or the body for the credentials"));
        }
        // The id alone is no second authentication, as long as it is the same one.
        Some((ref basic_id, _)) if id.as_ref().is_some_and(|id| id != basic_id) => {
            return Err(InvalidRequest("The two client_id differ"));
        }
        Some(credentials) => credentials,
        None => (id.ok_or(InvalidClient)?, secret.ok_or(InvalidClient)?),
    };
    if grant_type != GRANT_TYPE {
        return Err(UnsupportedGrantType);
    }
    Ok(TokenRequest { client_id, client_secret, scope: fields.take("scope") })
}

/// The body's parameters, each at most once.
struct Fields(Vec<(String, String)>);

impl Fields {
    /// A parameter without a value counts as left out (RFC 6749 §3.2).
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.is_empty())
    }
}

fn fields(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Fields, TokenRefusal> {
    let query = uri.query().unwrap_or_default();
    if form_urlencoded::parse(query.as_bytes()).any(|(name, _)| PARAMETERS.contains(&&*name)) {
        return Err(InvalidRequest("Parameters belong into the body, not the URL"));
    }
    let media = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media = media.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    if !media.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        return Err(InvalidRequest("Content-Type must be application/x-www-form-urlencoded"));
    }
    let mut seen = HashSet::new();
    let mut fields = Vec::new();
    for (name, value) in form_urlencoded::parse(body) {
        if !seen.insert(name.clone()) {
            return Err(InvalidRequest("A parameter is repeated"));
        }
        fields.push((name.into_owned(), value.into_owned()));
    }
    Ok(Fields(fields))
}

/// Id and secret of `Authorization: Basic`, each of them form-encoded inside (RFC 6749 §2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, TokenRefusal> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), second) = (given.next(), given.next()) else { return Ok(None) };
    if second.is_some() {
        return Err(InvalidRequest("Authorization is repeated"));
    }
    let (scheme, encoded) = value.as_bytes().split_at_checked(6).ok_or(InvalidClient)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Err(InvalidClient);
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).map_err(|_| InvalidClient)?;
    let colon = decoded.iter().position(|&byte| byte == b':').ok_or(InvalidClient)?;
    let (id, secret) = (form_decode(&decoded[..colon])?, form_decode(&decoded[colon + 1..])?);
    Ok(Some((id, secret)))
}

fn form_decode(text: &[u8]) -> Result<String, TokenRefusal> {
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    let decoded = percent_encoding::percent_decode(&spaced).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| InvalidClient)
}

/// Checks the credentials and makes the token.
///
/// # Errors
/// A [`TokenRefusal`], or the database's.
pub async fn issue(stock: Arc<Stock>, asked: TokenRequest) -> Result<Response, Error> {
    let known = match route::id(&asked.client_id) {
        Ok(id) => store::client_by_id(&mut stock.db.writer().await?, id).await?.map(|client| (id, client)),
        Err(_) => None,
    };
    // Without a client the secret is compared all the same, with what no secret has.
    let stored = known.as_ref().map_or(&[0; 32][..], |(_, client)| &client.secret_hash);
    let matches = oauth::secret_matches(&asked.client_secret, stored);
    let Some((id, client)) = known.filter(|(_, client)| matches && !client.is_revoked) else {
        return Err(InvalidClient.into());
    };
    let allowed = Scope::parse(&client.scope, ' ').ok_or(UnauthorizedClient)?;
    let scope = match &asked.scope {
        Some(text) => Scope::parse(text, ' ').filter(|scope| scope.is_within(allowed.as_str())),
        None => Some(allowed),
    };
    let grant = Grant::new(id, scope.ok_or(InvalidScope)?.into(), Timestamp::now());
    let answer = response::ok(&json!({
        "token_type": "Bearer",
        "expires_in": ACCESS_TOKEN_SECONDS,
        "access_token": oauth::sign(&stock.auth.keys, &grant),
        "scope": grant.scope,
    }));
    Ok(uncached(answer))
}
