//! Pictures that no post came of are deleted, by one instance each, and no others.

use super::*;

use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_orphan_is_swept_once_and_nothing_else_is() {
    let schema = Schema::fresh().await;
    let folder = fresh_folder("pictures");
    let builder =
        || Hyperdesk::builder(&schema).env("UPLOAD_DIR", folder.display()).env("UPLOAD_ORPHAN_SECONDS", "10");
    let (first, second) = (builder().start().await, builder().start().await);
    let stored = stored_as(&upload(&first.client(), "stays", "cat.gif", GIF).await, "cat.gif");
    // As uploads leave them that broke off: noted, stored or not, no post.
    let orphans: Vec<String> =
        (0..20).map(|n| format!("00000000-0000-4000-8000-0000000000{n:02}_cat.gif")).collect();
    for (n, orphan) in orphans.iter().enumerate() {
        if n % 2 == 0 {
            std::fs::write(folder.join(orphan), GIF).unwrap();
        }
        schema
            .execute(format!("INSERT INTO board_uploads (picture, sweep_at) VALUES ('{orphan}', NOW(6))"))
            .await;
    }
    // One that is under way, and one that nobody noted: somebody else's.
    let under_way = "11111111-0000-4000-8000-000000000000_cat.gif";
    let foreign = "22222222-0000-4000-8000-000000000000_cat.gif";
    for name in [under_way, foreign] {
        std::fs::write(folder.join(name), GIF).unwrap();
    }
    schema
        .execute(format!(
            "INSERT INTO board_uploads (picture, sweep_at) VALUES ('{under_way}', NOW(6) + INTERVAL 1 HOUR)"
        ))
        .await;
    for orphan in &orphans {
        eventually(LIMIT, || async { !folder.join(orphan).exists() }).await;
    }
    eventually(LIMIT, || async { begun(&schema).await == 1 }).await;
    for name in [stored.as_str(), under_way, foreign] {
        assert!(folder.join(name).exists(), "{name}");
    }
    let swept = async |desk: &Hyperdesk| desk.metric("board_orphans_swept_total").await.unwrap();
    // The note goes before it is counted.
    eventually(LIMIT, || async { swept(&first).await + swept(&second).await == 20.0 }).await;
    assert_eq!(posts(&schema).await, 1);
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_no_post_without_a_picture() {
    let schema = Schema::fresh().await;
    let folder = fresh_folder("pictures");
    let mut desk = Hyperdesk::builder(&schema)
        .env("UPLOAD_DIR", folder.display())
        .env("UPLOAD_ORPHAN_SECONDS", "10")
        .start()
        .await;
    let acknowledged = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut uploads = Vec::new();
    for _ in 0..8 {
        let (client, acknowledged) = (desk.client(), acknowledged.clone());
        uploads.push(tokio::spawn(async move {
            let parts = [part("message", None, b"hello"), part("file", Some("a.png"), &png(9, 9, MIB / 4))];
            while let Ok(answer) = upload_form(&client, &parts).try_send().await {
                if answer.status == 200 {
                    acknowledged.lock().unwrap().push(stored_as(&answer, "a.png"));
                }
            }
        }));
    }
    eventually(LIMIT, || async { acknowledged.lock().unwrap().len() >= 30 }).await;
    desk.kill();
    for upload in uploads {
        upload.await.unwrap();
    }
    desk.start_again().await;
    eventually(2 * LIMIT, || async { begun(&schema).await == 0 }).await;
    let mut posted: Vec<String> = schema.query("SELECT picture FROM board_posts").await;
    posted.sort();
    let mut stored: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    stored.sort();
    assert_eq!(posted, stored, "every post has its picture, and every picture its post");
    for name in acknowledged.lock().unwrap().iter() {
        assert!(posted.contains(name), "{name} was acknowledged");
    }
}

#[tokio::test]
async fn a_post_that_fails_leaves_an_orphan_and_a_missing_database_stores_nothing() {
    let schema = Schema::fresh().await;
    let folder = fresh_folder("pictures");
    let desk = Hyperdesk::builder(&schema)
        .env("UPLOAD_DIR", folder.display())
        .env("UPLOAD_ORPHAN_SECONDS", "10")
        .start()
        .await;
    let client = desk.client();
    let files = || std::fs::read_dir(&folder).unwrap().count();
    // It has seen that all tables are there: without one it would not begin.
    eventually(LIMIT, || async { desk.admin_client().get("/ready").send().await.status == 200 }).await;
    schema.execute("RENAME TABLE board_posts TO away").await;
    let refusal = upload(&client, "hello", "cat.gif", GIF).await;
    assert_eq!((refusal.status, files()), (503, 1));
    assert!(refusal.header("retry-after").is_some());
    assert_eq!(begun(&schema).await, 1);
    schema.execute("RENAME TABLE away TO board_posts").await;
    assert_eq!(desk.metric("board_uploads_total{outcome=\"not_posted\"}").await, Some(1.0));
    eventually(LIMIT, || async { files() == 0 }).await;
    eventually(LIMIT, || async { begun(&schema).await == 0 }).await;
    schema.execute("RENAME TABLE board_uploads TO away").await;
    let refusal = upload(&client, "hello", "cat.gif", GIF).await;
    assert_eq!((refusal.status, files()), (503, 0));
    assert_eq!(posts(&schema).await, 0);
}
