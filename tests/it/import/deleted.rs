//! What was deleted in Rails after it was brought over is named: it stays here, and a deleted person could sign in.

use super::{Import, empty, import};
use crate::support::rails::Rails;

#[tokio::test]
async fn what_is_here_and_not_in_rails_is_named() {
    let (rails, target) = (Rails::fresh().await, empty().await);
    rails.fill().await;
    rails.fill_many(600).await;
    import(&rails.schema.url(), &target).await;
    for deleted in [
        "expert_assignments WHERE id = 51",
        "messages WHERE id IN (104, 1003, 1004) OR id > 1590",
        "conversations WHERE id = 12",
        "expert_profiles WHERE id = 5",
        "users WHERE id = 7 AND FALSE",
    ] {
        rails.schema.execute(format!("DELETE FROM {deleted}")).await;
    }
    // This server's own since then: above the highest id there.
    target
        .execute(
            "INSERT INTO users (id, username, password_digest, created_at, updated_at)
            VALUES (4, 'deleted', '', '2024-01-01', '2024-01-01'), (9000, 'own', '', '2024-01-01', '2024-01-01')",
        )
        .await;
    let (status, said) = Import::begin(&rails.schema.url(), &target, &[]).end().await;
    assert_eq!(status.code(), Some(65), "{said}");
    let named: Vec<&str> = said.lines().filter(|line| line.contains(" is here and not in Rails")).collect();
    let expected = [
        "users 4",
        "expert_profiles 5",
        "conversations 12",
        "messages 104",
        "messages 1003",
        "messages 1004",
        "expert_assignments 51",
    ];
    assert_eq!(named, expected.map(|row| format!("{row} is here and not in Rails")), "{said}");
    assert!(said.contains("0 rows were not taken and 7 are not as in the source"), "{said}");
    assert!(said.contains("users: 14 rows compared"), "{said}");
}
