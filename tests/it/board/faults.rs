//! The bucket is slow, refuses, breaks off or does not say that it stored: no post without a picture, a clear
//! answer in bounded time, bounded memory, and no picture left over.

use super::s3::{S3, cutting_proxy, on_bucket};
use super::*;

use std::time::Duration;

use crate::support::Proxy;

/// The contract's limit for any answer is 5 s; a busy machine takes a hundred megabytes in at its own pace, and none may be hung.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// An orphan's ten seconds, the time to the next round, and some for a busy machine.
const SWEPT_WITHIN: Duration = Duration::from_secs(40);

#[track_caller]
fn is_unavailable(answer: &Response) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.text(), r#"{"error":"Service temporarily unavailable"}"#);
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert!(answer.took < ANSWERED_WITHIN, "{:?}", answer.took);
}

#[tokio::test]
async fn a_picture_goes_to_the_bucket_and_is_linked_through_the_cdn() {
    let schema = Schema::fresh().await;
    let s3 = S3::start().await;
    let desk = on_bucket(&schema, s3.addr()).start().await;
    let client = desk.client();
    let picture = png(640, 480, MIB);
    let stored = stored_as(&upload(&client, "hello", "cat.png", &picture).await, "cat.png");
    let object = s3.object(&stored).await.expect_status(200);
    assert_eq!(object.body, picture);
    assert_eq!(object.header("content-type"), Some("image/png"));
    assert_eq!(object.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let listed = client.get("/readMessages").send().await.json();
    assert_eq!(listed[0]["image_url"], format!("https://cdn.example.com/{stored}"));
    let shown = client.get(&format!("/media/{stored}")).send().await.expect_status(200);
    assert_eq!((&shown.body, shown.header("content-type")), (&picture, Some("image/png")));
    let other = "00000000-0000-4000-8000-000000000000_cat.png";
    client.get(&format!("/media/{other}")).send().await.expect_status(404);
    assert_eq!(begun(&schema).await, 0);
}

#[tokio::test]
async fn a_bucket_that_is_away_or_missing_or_not_trusted_is_told_clearly() {
    let schema = Schema::fresh().await;
    let s3 = S3::start().await;
    let proxy = Proxy::start(s3.addr());
    let desk = on_bucket(&schema, proxy.addr()).start().await;
    proxy.refuse();
    is_unavailable(&upload(&desk.client(), "hello", "cat.gif", GIF).await);
    proxy.pass();
    proxy.blackhole();
    is_unavailable(&upload(&desk.client(), "hello", "cat.gif", GIF).await);
    let known = "00000000-0000-4000-8000-000000000000_cat.gif";
    is_unavailable(&desk.client().get(&format!("/media/{known}")).send().await);
    proxy.cut_all();
    proxy.pass();
    stored_as(&upload(&desk.client(), "hello", "cat.gif", GIF).await, "cat.gif");
    let elsewhere = on_bucket(&schema, s3.addr()).env("S3_BUCKET", "not-there").start().await;
    is_unavailable(&upload(&elsewhere.client(), "hello", "cat.gif", GIF).await);
    // TLS towards a server that speaks none: a failed handshake, not a panic over a missing provider.
    let tls =
        on_bucket(&schema, s3.addr()).env("S3_ENDPOINT", format!("https://{}", s3.addr())).start().await;
    is_unavailable(&upload(&tls.client(), "hello", "cat.gif", GIF).await);
    assert_eq!(posts(&schema).await, 1);
    let line = desk.logs().last(|line| line.str("message") == Some("request failed")).unwrap();
    assert!(line.str("cause").unwrap().starts_with("picture store:"), "{}", line.text);
    assert_eq!(desk.metric("board_uploads_total{outcome=\"not_stored\"}").await, Some(2.0));
}

#[tokio::test]
async fn a_store_that_breaks_off_in_mid_body_makes_no_post() {
    let schema = Schema::fresh().await;
    let s3 = S3::start().await;
    for bytes in [1, 5_000, MIB / 2] {
        let endpoint = cutting_proxy(s3.addr(), bytes).await;
        let desk = on_bucket(&schema, endpoint).start().await;
        is_unavailable(&upload(&desk.client(), "hello", "cat.png", &png(9, 9, MIB)).await);
    }
    assert_eq!(posts(&schema).await, 0);
    // Whatever the store made of half a picture is swept once it is reachable again.
    let _desk = on_bucket(&schema, s3.addr()).start().await;
    eventually(SWEPT_WITHIN, || async { begun(&schema).await == 0 }).await;
    assert_eq!(s3.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_success_whose_reply_is_lost_is_no_post_and_its_picture_is_swept() {
    let schema = Schema::fresh().await;
    let s3 = S3::start().await;
    let proxy = Proxy::start(s3.addr());
    let desk = on_bucket(&schema, proxy.addr()).start().await;
    proxy.delay_replies(Duration::from_secs(20));
    is_unavailable(&upload(&desk.client(), "hello", "cat.gif", GIF).await);
    let orphans = s3.keys().await;
    assert_eq!(orphans.len(), 1, "the bucket has the picture");
    assert_eq!((posts(&schema).await, begun(&schema).await), (0, 1));
    proxy.pass();
    proxy.cut_all();
    let kept = stored_as(&upload(&desk.client(), "hello", "kept.gif", GIF).await, "kept.gif");
    eventually(SWEPT_WITHIN, || async { s3.keys().await == [kept.clone()] }).await;
    eventually(SWEPT_WITHIN, || async { begun(&schema).await == 0 }).await;
    eventually(SWEPT_WITHIN, || async { desk.metric("board_orphans_swept_total").await == Some(1.0) }).await;
    assert_eq!(posts(&schema).await, 1);
}

#[tokio::test]
async fn a_slow_bucket_slows_uploads_and_nothing_else() {
    let schema = Schema::fresh().await;
    let s3 = S3::start().await;
    let proxy = Proxy::start(s3.addr());
    let desk = on_bucket(&schema, proxy.addr()).start().await;
    proxy.delay_replies(Duration::from_millis(600));
    stored_as(&upload(&desk.client(), "slow", "cat.gif", GIF).await, "cat.gif");
    // More at once than there are places, all large, with a bucket that takes bytes and says nothing.
    proxy.blackhole();
    let before = desk.peak_rss_bytes();
    let mut uploads = Vec::new();
    // Bodies have 64 MiB in all, and 16 pictures are on their way to the bucket in up to four copies.
    for _ in 0..100 {
        let client = desk.client();
        uploads.push(tokio::spawn(async move { upload(&client, "stuck", "cat.png", &png(9, 9, MIB)).await }));
    }
    for upload in uploads {
        let answer = upload.await.unwrap();
        is_unavailable(&answer);
    }
    let waited = desk.metric("board_uploads_total{outcome=\"not_stored\"}").await.unwrap();
    assert!(waited < 50.0, "{waited} of 100 were let in");
    let grown = (desk.peak_rss_bytes() - before) / MIB as u64;
    println!("100 uploads of 1 MiB to a dead bucket: {grown} MiB more, {waited} waited for it");
    assert!(grown < 256, "{grown} MiB");
    // Reading goes on meanwhile, and uploads when the bucket is back.
    let listed = desk.client().get("/readMessages").send().await.expect_status(200);
    assert_eq!(listed.json().as_array().unwrap().len(), 1);
    assert!(listed.took < Duration::from_secs(2), "{:?}", listed.took);
    proxy.pass();
    proxy.cut_all();
    stored_as(&upload(&desk.client(), "again", "cat.gif", GIF).await, "cat.gif");
    assert_eq!(posts(&schema).await, 2);
}
