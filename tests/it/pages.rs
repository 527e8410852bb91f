//! Pages as HTTP sees them: tags, codings, what may be kept, what is on. In a browser: `tests/pages/`.

use crate::helpdesk::Desk;
use crate::support::Response;

fn file_of(html: &Response, name: &str) -> String {
    let text = html.text();
    let end = text.find(name).unwrap_or_else(|| panic!("{name} in {text}")) + name.len();
    text[text[..end].rfind('"').unwrap() + 1..end].to_owned()
}

#[tokio::test]
async fn a_page_is_asked_for_each_time_and_its_files_once() {
    let desk = Desk::start_with(&[("SERVICES", "")]).await;
    let client = desk.client();
    for path in ["/", "/helpdesk/", "/helpdesk", "/bookstore/", "/board/"] {
        let html = client.get(path).send().await.expect_status(200);
        assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(html.header("cache-control"), Some("no-cache"), "{path}");
        assert_eq!(html.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(html.header("referrer-policy"), Some("same-origin"), "{path}");
        let policy = html.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!html.text().contains("{{") && !html.text().contains("<!--"), "{path}: all is filled in");
        let tag = html.header("etag").expect("a tag").to_owned();
        assert!(tag.starts_with('"'), "a strong one: {tag}");
        let again = client.get(path).header("if-none-match", &tag).send().await.expect_status(304);
        assert_eq!((again.header("etag"), again.body.len()), (Some(tag.as_str()), 0), "{path}");
        let head = client.request("HEAD", path).header("if-none-match", &tag).send().await.expect_status(304);
        assert_eq!((again.header("content-length"), head.header("content-length")), (None, None), "{path}");

        let style = file_of(&html, "base.css");
        let file = client.get(&style).send().await.expect_status(200);
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"), "{style}");
        assert_eq!(file.header("content-type"), Some("text/css; charset=utf-8"), "{style}");
        let tag = file.header("etag").expect("a tag").to_owned();
        client.get(&style).header("if-none-match", format!("\"x\", {tag}")).send().await.expect_status(304);
        client.get(&style).header("if-none-match", "\"x\"").send().await.expect_status(200);
    }
}

#[tokio::test]
async fn every_coding_has_the_same_text_and_a_tag_of_its_own() {
    use std::io::Read as _;
    let desk = Desk::start().await;
    let client = desk.client();
    let plain = client.get("/helpdesk/").send().await.expect_status(200);
    assert_eq!(plain.header("content-encoding"), None);
    assert!(plain.headers_named("vary").contains(&"accept-encoding"));
    let mut tags = vec![plain.header("etag").unwrap().to_owned()];
    for (asked, coding) in [("gzip", "gzip"), ("gzip, deflate, br, zstd", "br"), ("br;q=0, gzip", "gzip")] {
        let packed =
            client.get("/helpdesk/").header("accept-encoding", asked).send().await.expect_status(200);
        assert_eq!(packed.header("content-encoding"), Some(coding), "{asked}");
        assert!(packed.body.len() * 2 < plain.body.len() + 200, "{asked}: {} bytes", packed.body.len());
        tags.push(packed.header("etag").unwrap().to_owned());
        let mut text = Vec::new();
        match coding {
            "gzip" => drop(flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut text).unwrap()),
            _ => brotli::BrotliDecompress(&mut &packed.body[..], &mut text).unwrap(),
        }
        assert!(text == plain.body, "{asked}");
    }
    assert_eq!(tags[1], tags[3], "both are gzip");
    tags.truncate(3);
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 3, "a strong tag stands for exact bytes");
}

#[tokio::test]
async fn a_file_of_another_version_is_not_kept() {
    let desk = Desk::start().await;
    let client = desk.client();
    let other = client.get("/page/0000000000000000/base.js").send().await.expect_status(200);
    assert_eq!(other.header("cache-control"), Some("no-cache"));
    let none = client.get("/page/0000000000000000/nothing.js").send().await.expect_status(404);
    assert_eq!(none.text(), r#"{"error":"File not found"}"#);
}

#[tokio::test]
async fn only_services_that_are_on_have_a_page_and_are_linked() {
    let desk = Desk::start_with(&[("SERVICES", "helpdesk,board")]).await;
    let client = desk.client();
    for path in ["/", "/helpdesk/", "/board/"] {
        let text = client.get(path).send().await.expect_status(200).text();
        assert!(text.contains("href=\"/helpdesk/\"") && text.contains("href=\"/board/\""), "{path}");
        assert!(!text.contains("href=\"/bookstore/\""), "{path}");
    }
    client.get("/bookstore/").send().await.expect_status(404);
    client.get("/page/x/bookstore.js").send().await.expect_status(404);
}

#[tokio::test]
async fn pages_can_be_off() {
    let desk = Desk::start_with(&[("PAGES", "off")]).await;
    for path in ["/", "/helpdesk/", "/board/", "/page/x/base.js"] {
        let answer = desk.client().get(path).send().await.expect_status(404);
        assert_eq!(answer.text(), r#"{"error":"Not found"}"#, "{path}");
    }
}

/// What a browser loads for the help desk, as it is sent to one that takes no coding.
#[tokio::test]
async fn a_page_weighs_at_most_45_kilobytes() {
    let desk = Desk::start_with(&[("SERVICES", "")]).await;
    let client = desk.client();
    for (path, files) in [
        (
            "/helpdesk/",
            &[
                "base.css",
                "helpdesk.css",
                "base.js",
                "desk.js",
                "feed.js",
                "list.js",
                "outbox.js",
                "state.js",
            ][..],
        ),
        ("/bookstore/", &["base.css", "bookstore.css", "base.js", "bookstore.js"]),
        ("/board/", &["base.css", "board.css", "base.js", "board.js"]),
    ] {
        let html = client.get(path).send().await.expect_status(200);
        let mut bytes = html.body.len();
        for name in files {
            let path = file_of(&html, "base.js").replace("base.js", name);
            bytes += client.get(&path).send().await.expect_status(200).body.len();
        }
        assert!(bytes <= 45 * 1024, "{path}: {bytes} bytes");
    }
}
