//! The bookstore's and the board's pages.

use serde_json::json;

use crate::desk::Person;
use crate::support::{Hyperdesk, Schema, User, child};

#[tokio::test]
async fn a_book_is_sold_bought_paid_and_delivered() {
    let schema = Schema::fresh().await;
    let desk = Hyperdesk::builder(&schema).start().await;
    let ann = Person::register(desk.addr(), "ann").await;
    ann.open("/bookstore/#/sell").await;
    for (id, text) in [
        ("title", "Fires"),
        ("author", "Ada"),
        ("description", "Of printers"),
        ("price", "19.90"),
        ("stock", "2"),
    ] {
        ann.browser.keys(&format!("#{id}"), text).await;
    }
    ann.browser.click("#view form button").await;
    ann.browser.shows(".books li", "19.90, 2 in stock").await;
    let book = ann.browser.value("Number(document.querySelector('[data-book]').dataset.book)").await;

    let bob = Person::register(desk.addr(), "bob").await;
    bob.open("/bookstore/").await;
    bob.browser.keys("#q", "fire\u{e007}").await;
    bob.browser.shows(".books li", "Fires").await;
    bob.browser.until("location.hash.includes('q=fire')").await;
    bob.browser.click(".books form button").await;
    bob.browser.shows("#state", "Not paid yet.").await;
    bob.browser.shows(".price", "19.90").await;
    // Paid somewhere else in the meantime: that is told, and nothing is paid twice.
    let purchase = bob.browser.value("location.hash.split('/')[2]").await;
    let other = User::login(desk.addr(), "bob", crate::desk::PASSWORD).await;
    let path = format!("/purchases/{}/payment", purchase.as_str().unwrap());
    other.post(&path, json!({"method": "card"})).await.expect_status(200);
    bob.browser.click("#pay").await;
    bob.browser.shows("#notice", "paid already, and only once").await;
    bob.browser.click("#deliver").await;
    bob.browser.shows("#notice", "delivers it").await;

    // The last one goes while the page still shows it.
    bob.open("/bookstore/#/books").await;
    bob.browser.shows(".books li", "1 in stock").await;
    other.post(&format!("/books/{book}/purchases"), json!({"quantity": 1})).await.expect_status(201);
    bob.browser.click(".books form button").await;
    bob.browser.shows("#notice", "sold out").await;
    bob.browser.shows(".books li", "sold out").await;
    bob.browser.click("#to-purchases").await;
    bob.browser.shows(".books li", "1 for 19.90, paid").await;
    bob.is_sound().await;
}

#[tokio::test]
async fn a_picture_is_looked_at_before_it_is_posted() {
    let schema = Schema::fresh().await;
    let uploads = child::fresh_folder("uploads");
    let desk = Hyperdesk::builder(&schema).env("UPLOAD_DIR", uploads.display()).start().await;
    let folder = child::fresh_folder("pictures");
    let ann = Person::register(desk.addr(), "ann").await;
    ann.open("/board/").await;
    ann.browser.shows("#posts", "Be the first").await;
    let large = folder.join("large.png");
    std::fs::write(&large, vec![0x89; 1_048_577]).unwrap();
    let text = folder.join("text.png");
    std::fs::write(&text, "not a picture").unwrap();
    let good = folder.join("good.png");
    image::RgbImage::from_pixel(40, 30, image::Rgb([200, 30, 30])).save(&good).unwrap();
    ann.browser.keys("#message", "Look <b>here</b>").await;
    for (file, told) in [(&large, "at most 1 MB"), (&text, "no JPEG, PNG, GIF or BMP")] {
        ann.browser.keys("#file", file.to_str().unwrap()).await;
        ann.browser.shows("#notice", told).await;
    }
    ann.browser.keys("#file", good.to_str().unwrap()).await;
    ann.browser.until("document.getElementById('preview').naturalWidth === 40").await;
    ann.browser.click("#send").await;
    ann.browser.shows("#notice", "Posted.").await;
    ann.browser.shows("#posts li", "Look <b>here</b>").await;
    ann.browser.until("document.querySelector('#posts img').naturalWidth === 40").await;
    ann.is_sound().await;
}
