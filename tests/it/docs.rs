//! What is written about the service, compared with the service.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use hyperdesk::chassis::route::{Access, Route as _, Spec};
use hyperdesk::config::VARIABLES;
use hyperdesk::db::Capacity;
use hyperdesk::db::pool::STATEMENT_CACHE;
use hyperdesk::helpdesk::routes::Route as Desk;
use hyperdesk::services::{NAMES, Route};
use serde_json::{Value, json};

use crate::helpdesk::{Desk as Server, ask, claim, say, specs};
use crate::support::eventually_some;

/// The README's section that has a route's URL: a service's is the one whose title ends in its name.
fn section_of(route: Route) -> String {
    match route {
        Route::Meta(_) => "## URLs of every process".to_owned(),
        Route::Page(_) => "## Pages".to_owned(),
        _ => {
            let name = route.service().expect("a service's");
            let is_its = |line: &&str| line.starts_with('#') && line.ends_with(&format!(": `{name}`"));
            let title = readme().lines().find(is_its).map(str::to_owned);
            title.unwrap_or_else(|| panic!("the README has no section whose title ends in \": `{name}`\""))
        }
    }
}

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md")
}

/// Panics with what to paste unless the README's section has exactly this table.
fn expect_table(section: &str, header: &str, table: &str) {
    let readme = readme();
    let begin = readme.find(&format!("\n{section}\n"));
    let begin = begin.unwrap_or_else(|| panic!("the README has no section {section}; paste:\n{table}"));
    let text = &readme[begin + 1 + section.len()..];
    let text = &text[..text.find("\n#").unwrap_or(text.len())];
    let at = text.find(header).unwrap_or_else(|| panic!("{section}: no table {header}; paste:\n{table}"));
    let found: String =
        text[at..].lines().take_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
    assert!(
        found == table,
        "{section}: the README's table is not the code's; paste:\n{table}\nin place of:\n{found}"
    );
}

#[test]
fn the_readme_has_every_variable() {
    let header = "| variable | default | meaning |";
    let mut table = format!("{header}\n|---|---|---|\n");
    for variable in VARIABLES {
        let default =
            if variable.default.is_empty() { String::new() } else { format!("`{}`", variable.default) };
        table += &format!("| `{}` | {default} | {} |\n", variable.name, variable.meaning);
    }
    expect_table("## Environment", header, &table);
}

#[test]
fn the_readme_has_every_url_of_every_service() {
    let header = "| method | path | who may call | body, bytes at most |";
    let mut tables = BTreeMap::<String, String>::new();
    for route in Route::all() {
        let Spec { method, label, access, body_bytes_max, is_large: _ } = route.spec();
        let who = match access {
            Access::Public => "anyone",
            Access::Optional => "anyone, signed in or not",
            Access::User | Access::Session => "a signed-in user",
            Access::Client(None) => "a client program",
            Access::Client(Some(scope)) => &format!("a client program, scope `{scope}`"),
        };
        let table =
            tables.entry(section_of(route)).or_insert_with(|| format!("{header}\n|---|---|---|---|\n"));
        *table += &format!("| {method} | `{label}` | {who} | {body_bytes_max} |\n");
    }
    assert_eq!(tables.len(), 2 + NAMES.len(), "each service has its section");
    for (section, table) in tables {
        expect_table(&section, header, &table);
    }
}

#[test]
fn the_readmes_arithmetic_is_the_servers() {
    const DEFAULT: u64 = 16_382;
    let header = "| database | max_connections, about | instances with pool 10 | with pool 20 \
                  | by the default max_prepared_stmt_count | max_prepared_stmt_count for all |";
    let mut table = format!("{header}\n|---|---|---|---|---|---|\n");
    for (database, connections) in
        [("db.t3.micro, 1 GiB", 80), ("db.m5.large, 8 GiB", 640), ("db.m5.xlarge, 16 GiB", 1_300)]
    {
        let with = |prepared_statements| Capacity { connections, prepared_statements };
        let [ten, twenty] = [10, 20].map(|pool| with(DEFAULT).instances_by_connections(pool));
        let [by_ten, by_twenty] = [10, 20].map(|pool| with(DEFAULT).instances_by_statements(pool));
        let enough = [DEFAULT, 32_768, 65_536, 131_072, 262_144].into_iter().find(|&limit| {
            with(limit).instances_by_statements(10) >= ten
                && with(limit).instances_by_statements(20) >= twenty
        });
        let enough = enough.expect("one that is enough");
        table += &format!(
            "| {database} | {connections} | {ten} | {twenty} | {by_ten}, with pool 20 {by_twenty} | {enough} |\n"
        );
    }
    expect_table("## How many workers", header, &table);
    let formula = format!("**instances × pool × 2 × {STATEMENT_CACHE} ≤ 0.8 × max_prepared_stmt_count**");
    assert!(readme().contains(&formula), "{formula}");
}

#[test]
fn the_readme_names_both_commands() {
    for command in ["deploy/local/run", "deploy/local/test"] {
        assert!(readme().contains(command));
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(command).is_file());
    }
}

/// The document that a server of these services serves.
async fn document(services: &str) -> Value {
    let desk = Server::start_with(&[("SERVICES", services)]).await;
    let answer = desk.client().get("/openapi.json").send().await.expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    answer.json()
}

/// `GET /conversations/{id}` and so on.
fn documented(document: &Value) -> BTreeSet<String> {
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    operations
}

/// The same of a route: what is `:id` in labels is `{id}` there.
fn operation(spec: &Spec) -> String {
    let segment = |part: &str| part.strip_prefix(':').map_or(part.to_owned(), |name| format!("{{{name}}}"));
    let path = spec.label.split('/').map(segment).collect::<Vec<_>>().join("/");
    format!("{} {path}", spec.method)
}

#[tokio::test]
async fn the_document_and_the_routes_are_the_same() {
    let document = document("").await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let routes: BTreeSet<String> = specs().iter().map(operation).collect();
    assert_eq!(documented(&document), routes, "the document on the left, the routes on the right");
    let mut names = BTreeSet::new();
    for spec in specs() {
        let operation = operation(&spec);
        let path = operation.split_once(' ').unwrap().1;
        let said = &document["paths"][path][spec.method.to_lowercase()];
        assert!(names.insert(said["operationId"].to_string()), "{operation}: an operationId of its own");
        assert!(said["summary"].is_string(), "{operation}: summary");
        let responses = said["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{operation}: success");
        // What anyone may call says so: an empty list, or an empty alternative.
        let open = matches!(spec.access, Access::Public | Access::Optional);
        let security = said.get("security").and_then(Value::as_array);
        let says_open = security.is_some_and(|ways| ways.is_empty() || ways.contains(&json!({})));
        // Some of those ask for credentials of their own, such as a sign-in.
        assert!(
            if open { says_open || responses.contains_key("401") } else { !says_open },
            "{operation}: security"
        );
        assert!(open || responses.contains_key("401"), "{operation}: 401");
        for parameter in path.split(['{', '}']).skip(1).step_by(2) {
            let parameters = said["parameters"].as_array().unwrap();
            let known = parameters.iter().any(|found| resolve(&document, found)["name"] == parameter);
            assert!(known, "{operation}: {parameter}");
        }
    }
    check_references(&document, &document);
}

#[tokio::test]
async fn services_that_are_off_are_left_out() {
    let desk = documented(&document("helpdesk").await);
    let expected: BTreeSet<String> = Desk::all().map(|route| operation(&route.spec())).collect();
    let more: Vec<&String> = desk.difference(&expected).collect();
    assert_eq!(more, ["GET /health", "GET /openapi.json", "GET /up"]);
}

pub fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => value,
    }
}

fn check_references(document: &Value, value: &Value) {
    resolve(document, value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item)),
        Value::Object(fields) => fields.values().for_each(|field| check_references(document, field)),
        _ => {}
    }
}

/// As much of JSON Schema as the document uses; a word that is not understood fails.
pub fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolve(document, schema);
    for (word, rule) in schema.as_object().unwrap() {
        match word.as_str() {
            "type" => {
                let kind = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(number) if number.is_f64() => "number",
                    Value::Number(_) => "integer",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                let fits = rule == kind || rule.as_array().is_some_and(|kinds| kinds.contains(&json!(kind)));
                assert!(fits, "{at}: {value} is no {rule}");
            }
            "const" => assert_eq!(value, rule, "{at}"),
            "enum" => assert!(rule.as_array().unwrap().contains(value), "{at}: {value}"),
            "required" => {
                for name in rule.as_array().unwrap() {
                    assert!(value.get(name.as_str().unwrap()).is_some(), "{at}: {name} is missing");
                }
            }
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        check(document, schema, field, &format!("{at}.{name}"));
                    }
                }
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                for name in value.as_object().unwrap().keys() {
                    assert!(known.contains_key(name), "{at}: {name} is not in the document");
                }
            }
            "items" => {
                for item in value.as_array().unwrap() {
                    check(document, rule, item, &format!("{at}[]"));
                }
            }
            "maxItems" => assert!(value.as_array().unwrap().len() as u64 <= rule.as_u64().unwrap(), "{at}"),
            "minItems" => assert!(value.as_array().unwrap().len() as u64 >= rule.as_u64().unwrap(), "{at}"),
            "minimum" => assert!(value.as_i64() >= rule.as_i64(), "{at}"),
            "maximum" => assert!(value.as_i64() <= rule.as_i64(), "{at}"),
            "oneOf" => {
                let other = rule.as_array().unwrap().iter().find(|schema| schema["type"] != "null").unwrap();
                if !value.is_null() {
                    check(document, other, value, at);
                }
            }
            "pattern" | "format" | "description" | "examples" | "default" | "maxLength" | "minLength" => {}
            unknown => panic!("{at}: {unknown}"),
        }
    }
}

#[tokio::test]
async fn real_answers_are_as_the_document_says() {
    let desk = Server::start().await;
    let document = desk.client().get("/openapi.json").send().await.expect_status(200).json();
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let id = ask(&ann, "printer").await;
    let waiting = ask(&ann, "mouse").await;
    claim(&eve, &id).await;
    let message = say(&ann, &id, "It burns.").await;
    let long = "x".repeat(70_000);
    let hers = json!({"username": "ann", "password": "ann-secret"});
    let none = json!({});
    for (user, method, path, filled, body, status) in [
        (None, "GET", "/health", "", &none, 200),
        (None, "POST", "/auth/register", "", &json!({"username": "bob", "password": "secret"}), 201),
        (None, "POST", "/auth/register", "", &none, 422),
        (None, "POST", "/auth/register", "", &json!({ "username": long }), 413),
        (None, "POST", "/auth/login", "", &hers, 200),
        (None, "POST", "/auth/login", "", &none, 401),
        (None, "GET", "/auth/me", "", &none, 401),
        (Some(&ann), "GET", "/auth/me", "", &none, 200),
        (Some(&ann), "POST", "/auth/refresh", "", &none, 200),
        (Some(&ann), "GET", "/conversations", "", &none, 200),
        (Some(&ann), "POST", "/conversations", "", &json!({"title": "t"}), 201),
        (Some(&ann), "POST", "/conversations", "", &none, 422),
        (Some(&ann), "GET", "/conversations/{id}", &id, &none, 200),
        (Some(&ann), "GET", "/conversations/{id}", "999999", &none, 404),
        (Some(&ann), "GET", "/conversations/{id}/messages", &id, &none, 200),
        (Some(&eve), "POST", "/messages", "", &json!({"conversationId": id, "content": "c"}), 201),
        (Some(&eve), "POST", "/messages", "", &json!({"conversationId": id, "content": long}), 422),
        (Some(&eve), "POST", "/messages", "", &none, 404),
        (Some(&ann), "PUT", "/messages/{id}/read", &message, &none, 403),
        (Some(&eve), "PUT", "/messages/{id}/read", &message, &none, 200),
        (Some(&eve), "GET", "/expert/queue", "", &none, 200),
        (Some(&eve), "POST", "/expert/conversations/{id}/claim", &id, &none, 422),
        (Some(&eve), "POST", "/expert/conversations/{id}/unclaim", &waiting, &none, 403),
        (Some(&eve), "POST", "/expert/conversations/{id}/resolve", &id, &none, 200),
        (Some(&eve), "GET", "/expert/profile", "", &none, 200),
        (Some(&eve), "PUT", "/expert/profile", "", &json!({"bio": "b", "knowledgeBaseLinks": ["l"]}), 200),
        (Some(&eve), "PUT", "/expert/profile", "", &json!({"knowledgeBaseLinks": 1}), 422),
        (Some(&eve), "GET", "/expert/assignments/history", "", &none, 200),
        (Some(&ann), "GET", "/api/conversations/updates", "?since=2026-01-01", &none, 200),
        (Some(&ann), "GET", "/api/messages/updates", "?since=2026-01-01", &none, 200),
        (Some(&ann), "GET", "/api/messages/updates", "?since=x", &none, 400),
        (Some(&eve), "GET", "/api/expert-queue/updates", "", &none, 200),
        (Some(&ann), "POST", "/auth/logout", "", &none, 200),
    ] {
        let query = if filled.starts_with('?') { filled } else { "" };
        let url = path.replace("{id}", filled) + query;
        let client =
            user.map_or_else(|| desk.client(), |user| crate::support::Client::new(user.client.addr()));
        let mut request = client.request(method, &url);
        if let Some(user) = user {
            request = request.bearer(&user.token);
        }
        if method != "GET" {
            request = request.json(body);
        }
        let answer = request.send().await.expect_status(status);
        let at = format!("{method} {url} {status}");
        let said = &document["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
        assert!(said.is_object(), "{at} is not documented");
        let schema = &resolve(&document, said)["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{at} has no schema");
        check(&document, schema, &answer.json(), &at);
    }
}

#[tokio::test]
async fn updates_are_as_the_document_says() {
    let desk = Server::start().await;
    let document = desk.client().get("/openapi.json").send().await.expect_status(200).json();
    let (ann, eve) = (desk.user("ann").await, desk.user("eve").await);
    let all = ann.get("/api/updates").await.expect_status(200).json();
    let cursor = all["cursor"].as_str().unwrap().to_owned();
    let id = ask(&ann, "printer").await;
    say(&ann, &id, "It burns.").await;
    let from = format!("/api/updates?cursor={cursor}");
    let hers = eve.get("/api/updates").await.expect_status(200).json();
    let foreign = format!("?cursor={}", hers["cursor"].as_str().unwrap());
    let since = "/api/messages/updates";
    claim(&eve, &id).await;
    for (url, status) in [
        ("/api/updates", 200),
        (from.as_str(), 200),
        (&format!("/api/updates{foreign}"), 410),
        (&format!("/api/updates/stream{foreign}"), 410),
        ("/api/updates?cursor=x", 400),
        ("/api/updates?wait=x", 400),
        ("/api/updates/stream?cursor=x", 400),
        (since, 200),
    ] {
        let path = url.split('?').next().unwrap();
        let answer = ann.get(url).await.expect_status(status);
        let at = format!("GET {url} {status}");
        let said = &document["paths"][path]["get"]["responses"][status.to_string()];
        let said = resolve(&document, said);
        check(&document, &said["content"]["application/json"]["schema"], &answer.json(), &at);
        let marked = said["headers"].get("X-Updates-Cursor").is_some();
        assert_eq!(answer.header("x-updates-cursor").is_some(), marked, "{at}");
    }
    // What waited and was claimed is gone, for others some milliseconds later.
    let news = eventually_some(Duration::from_secs(5), || async {
        let news = ann.get(&from).await.expect_status(200).json();
        (news["queue"]["left"] == json!([id])).then_some(news)
    })
    .await;
    let now = news["cursor"].as_str().unwrap();
    let nothing = ann.get(&format!("/api/updates?cursor={now}&wait=1")).await.expect_status(204);
    assert!(nothing.header("x-updates-cursor").is_some());
}
