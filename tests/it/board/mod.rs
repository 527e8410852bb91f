//! The message board: its contract with pictures in a folder; `faults` with a real S3 API.

mod corpus;
mod faults;
mod odd;
mod s3;
mod sweep;

use serde_json::json;

use crate::support::child::fresh_folder;
use crate::support::http::Request;
use crate::support::{Client, Hyperdesk, Response, Schema, eventually};

const MIB: usize = 1024 * 1024;

/// A PNG's head, and zeros up to so many bytes: a picture to everyone who only reads heads.
fn png(width: u32, height: u32, bytes: usize) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend_from_slice(&width.to_be_bytes());
    png.extend_from_slice(&height.to_be_bytes());
    png.extend_from_slice(b"\x08\x06\0\0\0");
    png.resize(bytes, 0);
    png
}

fn bmp() -> Vec<u8> {
    let mut bmp = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0".to_vec();
    bmp.resize(58, 0);
    bmp
}

pub const GIF: &[u8] = b"GIF89a\x01\0\x01\0\0\0\0;";
const JPEG: &[u8] = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x02\0\x03\x01\0\0\0";

const BOUNDARY: &str = "----a-boundary";

/// A part of a form; a file's where it has a name.
fn part(field: &str, file_name: Option<&str>, content: &[u8]) -> Vec<u8> {
    let file_name = file_name.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
    let head = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{field}\"{file_name}\r\n\
         content-type: image/png\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), format!("--{BOUNDARY}--\r\n").into_bytes()].concat()
}

fn upload_form<'a>(client: &'a Client, parts: &[Vec<u8>]) -> Request<'a> {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    client.post("/upload/").header("content-type", content_type).body(form(parts))
}

pub async fn upload(client: &Client, message: &str, file_name: &str, picture: &[u8]) -> Response {
    let parts = [part("message", None, message.as_bytes()), part("file", Some(file_name), picture)];
    upload_form(client, &parts).send().await
}

/// The name that an upload's answer gives, after checking the rest of it byte for byte.
#[track_caller]
fn stored_as(answer: &Response, file_name: &str) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let name = answer.json()["filename"].as_str().unwrap().to_owned();
    assert_eq!(answer.text(), format!("{{\"ok\":true,\"filename\":\"{name}\"}}"));
    let (uuid, rest) = name.split_at(36);
    assert_eq!(rest, format!("_{file_name}"));
    assert!(uuid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{uuid}");
    name
}

async fn upload_at(client: &Client, path: &str) -> Response {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let parts = [part("message", None, b"hello"), part("file", Some("cat.gif"), GIF)];
    client.post(path).header("content-type", content_type).body(form(&parts)).send().await
}

async fn posts(schema: &Schema) -> u64 {
    schema.query_one("SELECT COUNT(*) FROM board_posts").await
}

/// Uploads that are noted and came to no end.
async fn begun(schema: &Schema) -> u64 {
    schema.query_one("SELECT COUNT(*) FROM board_uploads").await
}

#[tokio::test]
async fn a_picture_of_each_type_is_stored_listed_and_shown() {
    let schema = Schema::fresh().await;
    let folder = fresh_folder("pictures");
    let desk = Hyperdesk::builder(&schema).env("UPLOAD_DIR", folder.display()).start().await;
    let client = desk.client();
    let none = client.get("/readMessages").send().await.expect_status(200);
    assert_eq!(none.text(), "[]");
    let pictures: [(&str, Vec<u8>, &str); 6] = [
        ("zero.png", png(1, 1, 100), "image/png"),
        ("one.png", png(640, 480, MIB), "image/png"),
        ("two.jpg", JPEG.to_vec(), "image/jpeg"),
        ("three.jpeg", JPEG.to_vec(), "image/jpeg"),
        ("four.gif", GIF.to_vec(), "image/gif"),
        ("five.bmp", bmp(), "image/bmp"),
    ];
    let mut names = Vec::new();
    for (name, picture, media_type) in &pictures {
        let stored = stored_as(&upload(&client, name, name, picture).await, name);
        assert_eq!(&std::fs::read(folder.join(&stored)).unwrap(), picture);
        let shown = client.get(&format!("/media/{stored}")).send().await.expect_status(200);
        assert_eq!(&shown.body, picture);
        assert_eq!(shown.header("content-type"), Some(*media_type));
        names.push(stored);
    }
    // Newest first, five of them.
    let listed = client.get("/readMessages").send().await.expect_status(200).json();
    let listed = listed.as_array().unwrap();
    let expected: Vec<&String> = names[1..].iter().rev().collect();
    assert_eq!(listed.len(), 5);
    for (place, (entry, name)) in listed.iter().zip(expected).enumerate() {
        let keys: Vec<&String> = entry.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["id", "message", "image_url", "create_time"]);
        assert!(entry["id"].is_u64());
        assert_eq!(entry["message"], pictures[5 - place].0);
        assert_eq!(entry["image_url"], format!("/media/{name}"));
        let time = entry["create_time"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    }
    assert_eq!(begun(&schema).await, 0);
    assert_eq!(desk.metric("board_uploads_total{outcome=\"stored\"}").await, Some(6.0));
}

#[tokio::test]
async fn a_shown_picture_is_nothing_else_and_may_be_kept() {
    let schema = Schema::fresh().await;
    let folder = fresh_folder("pictures");
    let desk = Hyperdesk::builder(&schema).env("UPLOAD_DIR", folder.display()).start().await;
    let client = desk.client();
    let stored = stored_as(&upload(&client, "hello", "x.html", GIF).await, "x.html.gif");
    let path = format!("/media/{stored}");
    let shown = client.get(&path).send().await.expect_status(200);
    assert_eq!(shown.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(shown.header("content-security-policy"), Some("default-src 'none'"));
    assert_eq!(shown.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(shown.header("content-length"), Some(GIF.len().to_string().as_str()));
    let tag = shown.header("etag").unwrap().to_owned();
    let kept = client.get(&path).header("if-none-match", format!("W/\"x\", {tag}")).send().await;
    assert_eq!((kept.status, kept.body.len()), (304, 0));
    for (known, status) in [
        ("*", 304),
        (tag.as_str(), 304),
        (&format!("W/{tag}"), 304),
        (&format!("\"a,b\",{tag} , \"c\""), 304),
        ("\"other\"", 200),
        (tag.trim_matches('"'), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = client.request(method, &path).header("if-none-match", known).send().await;
            assert_eq!((answer.status, answer.header("etag")), (status, Some(tag.as_str())), "{known}");
            // Of a 304 it would be that of a 200.
            let length = (status == 200).then(|| GIF.len().to_string());
            assert_eq!(answer.header("content-length"), length.as_deref(), "{method} {known}");
        }
    }
    let lines = client.get(&path).header("if-none-match", "\"other\"").header("if-none-match", &tag);
    lines.send().await.expect_status(304);
    // Of what is not there no version is known.
    let gone = "/media/00000000-0000-4000-8000-000000000001_gone.png";
    client.get(gone).header("if-none-match", "*").send().await.expect_status(404);
    let head = client.request("HEAD", &path).send().await.expect_status(200);
    assert_eq!(head.header("content-length"), Some(GIF.len().to_string().as_str()));
    // What is in the folder by another way is no page either.
    let foreign = "00000000-0000-4000-8000-000000000000_page.html";
    std::fs::write(folder.join(foreign), "<script>alert(1)</script>").unwrap();
    let page = client.get(&format!("/media/{foreign}")).send().await.expect_status(200);
    assert_eq!(page.header("content-type"), Some("application/octet-stream"));
    std::fs::write(folder.join("secret.txt"), "secret").unwrap();
    for path in [
        "/media/secret.txt",
        "/media/..",
        "/media/%2e%2e%2fsecret.txt",
        "/media/00000000-0000-4000-8000-000000000000_../secret.txt",
        "/media/00000000-0000-4000-8000-000000000001_cat.png",
        "/media/",
    ] {
        client.get(path).send().await.expect_status(404);
    }
}

#[tokio::test]
async fn what_is_no_post_is_refused_and_leaves_nothing() {
    let schema = Schema::fresh().await;
    let folder = fresh_folder("pictures");
    let desk = Hyperdesk::builder(&schema).env("UPLOAD_DIR", folder.display()).start().await;
    let client = desk.client();
    let text = |text: &str| part("message", None, text.as_bytes());
    let file = |name: &str, content: &[u8]| part("file", Some(name), content);
    let cat = || file("cat.png", &png(1, 1, 100));
    let other_type = json!({"error": "File must be a jpg, jpeg, png, gif or bmp picture"});
    let path = json!({"errors": ["File name must not contain a path"]});
    let pixels = json!({"errors": ["File has too many pixels (maximum is 50 million) or none"]});
    let refused = [
        (vec![cat()], 422, json!({"errors": ["Message can't be blank"]})),
        (
            vec![text("  "), file("", b"")],
            422,
            json!({"errors": ["Message can't be blank", "File can't be blank"]}),
        ),
        (vec![text("hello")], 422, json!({"errors": ["File can't be blank"]})),
        (
            vec![text(&"ü".repeat(256)), cat()],
            422,
            json!({"errors": ["Message is too long (maximum is 255 characters)"]}),
        ),
        (vec![part("message", None, b"\xff"), cat()], 400, json!({"error": "Message is not valid UTF-8"})),
        (vec![text("hello"), file("text.png", b"I am a text")], 415, other_type.clone()),
        (
            vec![text("hello"), file("x.svg", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>")],
            415,
            other_type.clone(),
        ),
        (vec![text("hello"), file("x.png", b"RIFF\x1a\0\0\0WEBPVP8L")], 415, other_type),
        (
            vec![text("hello"), file("big.png", &png(1, 1, MIB + 1))],
            413,
            json!({"error": "File is too large (maximum is 1 MB)"}),
        ),
        (
            vec![text("hello"), file("big.png", &png(1, 1, 2 * MIB))],
            413,
            json!({"error": "Request body too large"}),
        ),
        (vec![text("hello"), file("bomb.png", &png(65_535, 65_535, 4_000))], 422, pixels.clone()),
        (vec![text("hello"), file("flat.png", &png(0, 9, 100))], 422, pixels),
        (vec![text("hello"), file("../../etc/cron.d/x.png", &png(1, 1, 100))], 422, path.clone()),
        (vec![text("hello"), file("..", &png(1, 1, 100))], 422, path),
        (
            vec![text("a"), text("b"), cat()],
            400,
            json!({"error": "Only one message and one file can be sent"}),
        ),
        (vec![text("a"), cat(), cat()], 400, json!({"error": "Only one message and one file can be sent"})),
        (vec![part("x", None, b"y"); 20], 400, json!({"error": "Too many parts in the form"})),
    ];
    let count = refused.len();
    for (parts, status, answer) in refused {
        let refusal = upload_form(&client, &parts).send().await;
        assert_eq!((refusal.status, refusal.json()), (status, answer));
    }
    assert_eq!((posts(&schema).await, begun(&schema).await), (0, 0));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    // The body that is too long for the route never reached the board.
    let metric = desk.metric("board_uploads_total{outcome=\"refused\"}").await;
    assert_eq!(metric, Some((count - 1) as f64));
}

/// Parts as other clients than browsers write them, and such as two readers read differently.
#[tokio::test]
async fn a_parts_names_are_read_as_they_are_written() {
    let schema = Schema::fresh().await;
    let desk =
        Hyperdesk::builder(&schema).env("UPLOAD_DIR", fresh_folder("pictures").display()).start().await;
    let client = desk.client();
    let part = |disposition: &str, content: &[u8]| {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    };
    let message = || part("form-data; name=\"message\"", b"hello");
    for (disposition, stored) in [
        ("form-data; NAME=\"file\"; FileName=\"cat.gif\"", "cat.gif"),
        ("Form-Data;Name=file;FILENAME=cat.gif", "cat.gif"),
        ("form-data; filename=\"x; name=message.gif\"; name=\"file\"", "x__name_message.gif"),
        ("form-data; name=\"file\"; filename=\"a\\\".gif\"", "a_.gif"),
        ("form-data; x=\"; filename=dog.gif; name=message\"; name=\"file\"; filename=\"cat.gif\"", "cat.gif"),
        ("form-data; name=\"file\"; filename*=UTF-8''k%C3%A4tzchen.gif", "k_tzchen.gif"),
    ] {
        let answer = upload_form(&client, &[message(), part(disposition, GIF)]).send().await;
        stored_as(&answer, stored);
    }
    // From a disk whose names are Latin-1.
    let head = b"form-data; name=\"file\"; filename=\"gr\xfcn \xa9.gif\"";
    let start = format!("--{BOUNDARY}\r\nContent-Disposition: ");
    let latin = [start.as_bytes(), head, b"\r\n\r\n", GIF, b"\r\n"].concat();
    stored_as(&upload_form(&client, &[message(), latin]).send().await, "gr_n__.gif");
    // As many parts as a form may have, and one more.
    let parts = |others: usize| {
        [
            vec![part("form-data; name=\"x\"", b"y"); others],
            vec![message(), part("form-data; name=file", GIF)],
        ]
        .concat()
    };
    upload_form(&client, &parts(13)).send().await.expect_status(200);
    let refusal = upload_form(&client, &parts(14)).send().await.expect_status(400);
    assert_eq!(refusal.json(), json!({"error": "Too many parts in the form"}));
    // A name inside another value is none.
    let hidden = part("form-data; name=\"x; filename=cat.gif; name=file\"", GIF);
    let refusal = upload_form(&client, &[message(), hidden]).send().await.expect_status(422);
    assert_eq!(refusal.json(), json!({"errors": ["File can't be blank"]}));
    for disposition in [
        "form-data; name=\"file\"; name=\"message\"; filename=\"cat.gif\"",
        "form-data; name=\"file\"; filename=\"cat.gif\"; FILENAME=\"dog.gif\"",
        "form-data; name=\"file\"; filename=\"cat.gif",
        "attachment; name=\"file\"; filename=\"cat.gif\"",
        "form-data; name=\"file\"\r\nContent-Disposition: form-data; name=\"message\"",
    ] {
        let refusal = upload_form(&client, &[message(), part(disposition, GIF)]).send().await;
        assert_eq!(refusal.status, 400, "{disposition}: {}", refusal.text());
    }
    assert_eq!(posts(&schema).await, 8);
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let schema = Schema::fresh().await;
    let desk =
        Hyperdesk::builder(&schema).env("UPLOAD_DIR", fresh_folder("pictures").display()).start().await;
    let client = desk.client();
    let whole = form(&[part("message", None, b"a"), part("file", Some("a.gif"), GIF)]);
    let multipart = format!("multipart/form-data; boundary={BOUNDARY}");
    let bodies = [
        (Some("application/json"), whole.clone(), 415),
        (Some("image/png"), png(1, 1, 100), 415),
        (None, whole.clone(), 415),
        (Some("multipart/form-data"), whole.clone(), 400),
        (Some("multipart/form-data; boundary=other"), whole.clone(), 400),
        (Some(&*multipart), whole[..whole.len() - 30].to_vec(), 400),
        (Some(&*multipart), Vec::new(), 400),
        (Some(&*multipart), whole, 200),
    ];
    for (content_type, body, status) in bodies {
        let mut request = client.post("/upload").body(body);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        request.send().await.expect_status(status);
    }
    for (method, path, allow) in [
        ("GET", "/upload/", "POST, OPTIONS"),
        ("POST", "/readMessages", "GET, HEAD, OPTIONS"),
        ("DELETE", "/media/x", "GET, HEAD, OPTIONS"),
    ] {
        let refusal = client.request(method, path).send().await.expect_status(405);
        assert_eq!(refusal.header("allow"), Some(allow));
    }
    client.get("/readMessages/").send().await.expect_status(200);
    upload_at(&client, "/upload").await.expect_status(200);
    upload_at(&client, "//upload//").await.expect_status(200);
}

#[tokio::test]
async fn pictures_are_linked_through_the_cdn() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema)
        .env("UPLOAD_DIR", fresh_folder("pictures").display())
        .env("CDN_BASE_URL", "https://cdn.example.com/board/")
        .start()
        .await;
    let client = desk.client();
    let long = "ü".repeat(255);
    let stored = stored_as(&upload(&client, &long, "cat.gif", GIF).await, "cat.gif");
    let listed = client.get("/readMessages").send().await.json();
    assert_eq!(listed[0]["image_url"], format!("https://cdn.example.com/board/{stored}"));
    assert_eq!(listed[0]["message"], long);
    // A CDN may ask us for what it does not have.
    client.get(&format!("/media/{stored}")).send().await.expect_status(200);
}

#[tokio::test]
async fn a_board_that_is_off_has_no_routes_and_no_folder() {
    let schema = Schema::fresh().await;
    let folder = fresh_folder("pictures").join("not-made");
    let desk = Hyperdesk::builder(&schema)
        .env("SERVICES", "helpdesk")
        .env("UPLOAD_DIR", folder.display())
        .start()
        .await;
    desk.client().get("/readMessages").send().await.expect_status(404);
    assert!(!folder.exists());
}
