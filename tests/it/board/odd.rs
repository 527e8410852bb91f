//! The odd but valid pictures, read as a decoder reads them; and bombs, refused unread.

use std::io::Cursor;

use hyperdesk::board::head::PictureType;
use hyperdesk::board::model::{NoPicture, PIXELS_MAX, picture};
use image::{ImageFormat, ImageReader};

use crate::support::child::fresh_folder;
use crate::support::random::Random;
use crate::support::{Hyperdesk, Schema};

use super::corpus::{HEIGHT, Odd, WIDTH, bombs, odds};
use super::{stored_as, upload};

/// Damages tried of each picture, and how far in: what follows the head is the decoder's alone.
const DAMAGES: usize = 150;
const HEAD_BYTES: usize = 256;

fn reader(picture_type: PictureType, bytes: &[u8]) -> ImageReader<Cursor<&[u8]>> {
    let format = match picture_type {
        PictureType::Jpeg => ImageFormat::Jpeg,
        PictureType::Png => ImageFormat::Png,
        PictureType::Gif => ImageFormat::Gif,
        PictureType::Bmp => ImageFormat::Bmp,
    };
    ImageReader::with_format(Cursor::new(bytes), format)
}

#[test]
fn every_odd_picture_is_read_as_a_decoder_reads_it() {
    let mut wrong = Vec::new();
    for Odd { name, picture_type, bytes, is_decoded } in odds() {
        if picture(&bytes) != Ok(picture_type) {
            wrong.push(format!("{name}: {:?}", picture(&bytes)));
        }
        let size = picture_type.size(&bytes).map(|size| (size.width, size.height));
        if size != Some((WIDTH, HEIGHT)) {
            wrong.push(format!("{name}: {size:?}"));
        }
        let decoded = reader(picture_type, &bytes).decode();
        let is_right = decoded.as_ref().is_ok_and(|it| (it.width(), it.height()) == (WIDTH, HEIGHT));
        if is_right != is_decoded {
            wrong.push(format!("{name}: the decoder says {:?}", decoded.map(|it| (it.width(), it.height()))));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_bomb_is_refused() {
    for (name, bytes) in bombs() {
        assert!(bytes.len() < 500_000, "{name}");
        assert_eq!(picture(&bytes), Err(NoPicture::Dimensions), "{name}");
    }
}

/// Whatever size the decoder sees in a picture that is taken, it is not larger than the one that was allowed.
fn compare(name: &str, picture_type: PictureType, bytes: &[u8]) -> bool {
    let taken = picture(bytes);
    let Ok((width, height)) = reader(picture_type, bytes).into_dimensions() else { return false };
    if PictureType::of(bytes) != Some(picture_type) {
        return false;
    }
    let Some(size) = picture_type.size(bytes) else {
        panic!("{name}: nothing is read, {width} × {height} is")
    };
    assert!(size.width >= width && size.height >= height, "{name}: {size:?} for {width} × {height}");
    // Only these two say their size once.
    if matches!(picture_type, PictureType::Png | PictureType::Bmp) {
        assert_eq!((size.width, size.height), (width, height), "{name}");
    }
    assert_eq!(taken.is_ok(), (1..=PIXELS_MAX).contains(&size.pixels()), "{name}");
    true
}

#[test]
fn a_damaged_picture_is_no_trouble_and_no_larger_than_allowed() {
    let mut random = Random::seeded(13);
    let mut compared = 0;
    for Odd { name, picture_type, bytes, .. } in odds() {
        let head = bytes.len().min(HEAD_BYTES);
        for end in 0..head {
            compared += usize::from(compare(&format!("{name}, cut to {end}"), picture_type, &bytes[..end]));
        }
        for _ in 0..DAMAGES {
            let mut damaged = bytes.clone();
            let (at, bit) = (random.number(0..head as u64) as usize, random.number(0..8));
            damaged[at] ^= 1 << bit;
            let name = format!("{name}, bit {bit} of byte {at} changed");
            compared += usize::from(compare(&name, picture_type, &damaged));
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[tokio::test]
async fn every_odd_picture_is_stored_and_shown_and_every_bomb_refused() {
    let schema = Schema::fresh().await;
    let folder = fresh_folder("pictures");
    let desk = Hyperdesk::builder(&schema).env("UPLOAD_DIR", folder.display()).start().await;
    let client = desk.client();
    for Odd { name, picture_type, bytes, .. } in odds() {
        let answer = upload(&client, &name, "odd", &bytes).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let stored = stored_as(&answer, &format!("odd.{}", picture_type.ending()));
        let shown = client.get(&format!("/media/{stored}")).send().await.expect_status(200);
        assert_eq!(shown.body, bytes, "{name}");
        assert_eq!(shown.header("content-type"), Some(picture_type.media_type()), "{name}");
    }
    let count = std::fs::read_dir(&folder).unwrap().count();
    for (name, bytes) in bombs() {
        let answer = upload(&client, &name, "bomb", &bytes).await;
        let expected = r#"{"errors":["File has too many pixels (maximum is 50 million) or none"]}"#;
        assert_eq!((answer.status, answer.text()), (422, expected.into()), "{name}");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), count);
}
