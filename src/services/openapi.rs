//! `GET /openapi.json`: one OpenAPI 3.1 document, put together at start-up from what the services say.
//!
//! Each service folder has an `openapi.json` with the `paths` and `components` of its own; `openapi.json` here
//! has what they share. A test compares the whole with the routes, both ways.

use bytes::Bytes;
use serde_json::{Map, Value};

/// What all services share: title, credentials, errors.
const SHARED: &str = include_str!("openapi.json");

/// The document of these services.
///
/// # Errors
/// A text for the log, when a fragment is no JSON object or two of them say different things under one name:
/// a mistake of ours.
pub(super) fn document<'a>(fragments: impl IntoIterator<Item = &'a str>) -> Result<Bytes, String> {
    let mut whole = parse(SHARED)?;
    for fragment in fragments {
        merge(&mut whole, parse(fragment)?)?;
    }
    serde_json::to_vec(&whole).map(Bytes::from).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("openapi.json: {error}"))
}

/// Adds `more` to `whole`, objects within objects.
fn merge(whole: &mut Map<String, Value>, more: Map<String, Value>) -> Result<(), String> {
    for (name, value) in more {
        match (whole.get_mut(&name), value) {
            (None, value) => {
                whole.insert(name, value);
            }
            (Some(Value::Object(known)), Value::Object(value)) => merge(known, value)?,
            (Some(known), value) if *known == value => {}
            (Some(_), _) => return Err(format!("openapi.json: two services disagree about {name:?}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_merged_and_may_not_disagree() {
        let one = r#"{"paths":{"/a":{"get":{}}},"components":{"schemas":{"A":{"type":"object"}}}}"#;
        let two = r#"{"paths":{"/b":{"get":{}}},"components":{"schemas":{"A":{"type":"object"}}}}"#;
        let whole: Value = serde_json::from_slice(&document([one, two]).unwrap()).unwrap();
        assert!(whole["paths"]["/a"].is_object() && whole["paths"]["/b"].is_object());
        assert!(whole["components"]["schemas"]["Error"].is_object());
        let three = r#"{"components":{"schemas":{"A":{"type":"string"}}}}"#;
        assert!(document([one, three]).unwrap_err().contains("disagree"));
        assert!(document(["[]"]).is_err());
    }
}
