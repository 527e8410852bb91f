//! The links of profiles, as Rails' YAML writes them: none is damaged, and what is no list is told.

use std::fmt::Write as _;

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use super::{empty, import};
use crate::support::rails::{Rails, Shape};

#[tokio::test]
async fn what_psych_wrote_is_what_is_served() {
    let long =
        "https://a.example/a long title that Psych folds after its eightieth column and that ends here";
    let folded = "---\n- https://a.example/a long title that Psych folds after its eightieth column and that\n  ends here\n- b\n";
    let cases: Vec<(&str, Value, &str)> = vec![
        ("--- []", json!([]), ""),
        ("--- []\n", json!([]), ""),
        ("---\n- https://a", json!(["https://a"]), ""),
        ("---\n- 'it''s: here'\n", json!(["it's: here"]), ""),
        ("---\n- say \"hi\"\n", json!(["say \"hi\""]), ""),
        ("---\n- |-\n  one\n  two\n- three\n", json!(["one\ntwo", "three"]), ""),
        ("---\n- \"\\U0001F600 \\t\\e\"\n- 日本語\n", json!(["😀 \t\u{1b}", "日本語"]), ""),
        (folded, json!([long, "b"]), ""),
        ("---\n- &1 https://a\n- *1\n", json!(["https://a", "https://a"]), ""),
        ("---\n- https://a\n- \n", json!(["https://a"]), "had items that were nil: they are left out"),
        ("--- \"single\"", json!(["single"]), "was no list: each of its lines is a link here"),
        (
            "---\n- !ruby/object:Link\n  url: x\n",
            json!(["---", "- !ruby/object:Link", "url: x"]),
            "was no list: each of its lines is a link here",
        ),
    ];
    let (rails, target) = (Rails::of(Shape { links: "text", ..Shape::default() }).await, empty().await);
    rails.fill().await;
    let (mut users, mut profiles) = (String::new(), String::new());
    for place in 0..cases.len() {
        let (id, comma) = (100 + place, if place > 0 { "," } else { "" });
        write!(users, "{comma} ({id}, 'u{id}', '', '2024-03-01', '2024-03-01')").unwrap();
        write!(profiles, "{comma} ({id}, {id}, ?, '2024-03-01', '2024-03-01')").unwrap();
    }
    let mut conn = rails.schema.admin().await;
    conn.query_drop(format!(
        "INSERT INTO users (id, username, password_digest, created_at, updated_at) VALUES {users}"
    ))
    .await
    .unwrap();
    let texts: Vec<&str> = cases.iter().map(|(text, ..)| *text).collect();
    conn.exec_drop(
        format!(
            "INSERT INTO expert_profiles (id, user_id, knowledge_base_links, created_at, updated_at)
            VALUES {profiles}"
        ),
        texts,
    )
    .await
    .unwrap();
    conn.disconnect().await.unwrap();

    let said = import(&rails.schema.url(), &target).await;
    let stored: Vec<String> =
        target.query("SELECT knowledge_base_links FROM expert_profiles WHERE id >= 100 ORDER BY id").await;
    assert_eq!(stored.len(), cases.len(), "{said}");
    for (place, ((text, links, note), stored)) in cases.iter().zip(&stored).enumerate() {
        assert_eq!(&serde_json::from_str::<Value>(stored).unwrap(), links, "{text}");
        let of_row = format!("expert_profiles {} knowledge_base_links ", 100 + place);
        assert_eq!(said.contains(&of_row), !note.is_empty(), "{text}: {said}");
        assert!(note.is_empty() || said.contains(&format!("{of_row}{note}")), "{text}: {said}");
    }
}
