//! What a message, a picture and its name may be, and what readers get. Pure.

use serde::Serialize;

use crate::chassis::text::is_blank;
use crate::clock::Timestamp;

use super::head::PictureType;

/// Bytes of a picture.
pub const PICTURE_BYTES_MAX: usize = 1024 * 1024;
/// Width times height of a picture. A file of a few kilobytes can claim billions, which fill the memory of
/// whoever looks at it; no camera's picture of this size fits into [`PICTURE_BYTES_MAX`].
pub const PIXELS_MAX: u64 = 50_000_000;
/// Characters of a message; the column holds as many.
pub const MESSAGE_CHARS_MAX: usize = 255;
/// Posts on the first page, which is all there is.
pub const NEWEST: u64 = 5;
/// Characters of a picture's own name, after the uuid; cut to it, the ending kept.
pub const NAME_CHARS_MAX: usize = 100;
/// Characters of a UUID.
const UUID_CHARS: usize = 36;

/// A row of `board_posts`.
#[derive(Clone, Debug)]
pub struct Post {
    /// Rising with time.
    pub id: u64,
    /// The text.
    pub message: String,
    /// The picture's whole name.
    pub picture: String,
    /// When the post was made.
    pub created_at: Timestamp,
}

/// A post as readers get it.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The fields are those of the contract.
pub struct Message {
    pub id: u64,
    pub message: String,
    pub image_url: String,
    pub create_time: Timestamp,
}

impl Message {
    /// Links the picture through the CDN, else relative to this server: a path is right behind every proxy
    /// and under every name, and no header of a request can make it point elsewhere. Who needs whole URLs
    /// without a CDN names this server's own `/media` as the CDN.
    #[must_use]
    pub fn of(post: Post, cdn_base_url: Option<&str>) -> Self {
        let base = cdn_base_url.unwrap_or("/media");
        let image_url = format!("{base}/{}", post.picture);
        Self { id: post.id, message: post.message, image_url, create_time: post.created_at }
    }
}

/// A message that may be posted.
///
/// # Errors
/// The text of a 422.
pub fn message(text: &str) -> Result<(), &'static str> {
    if is_blank(text) {
        return Err("Message can't be blank");
    }
    if text.chars().count() > MESSAGE_CHARS_MAX {
        return Err("Message is too long (maximum is 255 characters)");
    }
    Ok(())
}

/// Endings of files, and what they stand for.
const ENDINGS: [(&str, PictureType); 5] = [
    ("jpg", PictureType::Jpeg),
    ("jpeg", PictureType::Jpeg),
    ("png", PictureType::Png),
    ("gif", PictureType::Gif),
    ("bmp", PictureType::Bmp),
];

/// Why a file is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPicture {
    /// More bytes than [`PICTURE_BYTES_MAX`].
    TooLarge,
    /// Not one of the types, or broken off before its dimensions.
    OtherType,
    /// More pixels than [`PIXELS_MAX`], or none.
    Dimensions,
}

/// The type of a picture that may be stored. Only its head is read, nothing is unpacked.
///
/// # Errors
/// Why not.
pub fn picture(bytes: &[u8]) -> Result<PictureType, NoPicture> {
    if bytes.len() > PICTURE_BYTES_MAX {
        return Err(NoPicture::TooLarge);
    }
    let picture_type = PictureType::of(bytes).ok_or(NoPicture::OtherType)?;
    let size = picture_type.size(bytes).ok_or(NoPicture::OtherType)?;
    if (1..=PIXELS_MAX).contains(&size.pixels()) { Ok(picture_type) } else { Err(NoPicture::Dimensions) }
}

/// A file's name as it may be stored: letters, digits, dot, hyphen and underscore, with an ending that is a
/// picture's, so that it means the same in a URL, a folder and a bucket, and is no page to a careless server.
///
/// # Errors
/// The text of a 422, for a name that is a path.
pub fn file_name(given: &str, picture_type: PictureType) -> Result<String, &'static str> {
    if given.contains(['/', '\\', '\0']) || given == ".." {
        return Err("File name must not contain a path");
    }
    let is_kept = |letter: &char| letter.is_ascii_alphanumeric() || "._-".contains(*letter);
    let plain: String = given.chars().map(|letter| if is_kept(&letter) { letter } else { '_' }).collect();
    let plain = plain.trim_start_matches('.');
    let known = |ending: &str| ENDINGS.iter().any(|(known, _)| known.eq_ignore_ascii_case(ending));
    let (stem, ending) = match plain.rsplit_once('.') {
        Some((stem, ending)) if known(ending) => (stem, ending),
        _ => (plain, picture_type.ending()),
    };
    let stem = &stem[..stem.len().min(NAME_CHARS_MAX - 1 - ending.len())];
    let stem = if stem.is_empty() { "picture" } else { stem };
    Ok(format!("{stem}.{ending}"))
}

/// `<uuid>_<name>`: a random UUID (RFC 9562, version 4) makes it unlike all others and impossible to guess.
#[must_use]
pub fn picture_name(mut random: [u8; 16], file_name: &str) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let mut name = String::with_capacity(UUID_CHARS + 1 + file_name.len());
    for (place, byte) in random.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            name.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            name.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    name.push('_');
    name.push_str(file_name);
    name
}

/// Whether [`picture_name`] could have made this name: all others are not even looked for.
#[must_use]
pub fn is_picture_name(name: &str) -> bool {
    let Some((uuid, file_name)) = name.split_at_checked(UUID_CHARS) else { return false };
    let is_uuid = uuid.bytes().enumerate().all(|(place, byte)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let Some(file_name) = file_name.strip_prefix('_') else { return false };
    is_uuid
        && (1..=NAME_CHARS_MAX).contains(&file_name.len())
        && !file_name.starts_with('.')
        && file_name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend_from_slice(&width.to_be_bytes());
        bytes.extend_from_slice(&height.to_be_bytes());
        bytes.extend_from_slice(b"\x08\x06\0\0\0");
        bytes
    }

    #[test]
    fn a_picture_is_told_by_its_content() {
        assert_eq!(picture(&png(3, 2)), Ok(PictureType::Png));
        assert_eq!(picture(b"GIF89a\x01\0\x01\0\0\0\0;"), Ok(PictureType::Gif));
        assert_eq!(picture(b"\xff\xd8\xff\xc0\0\x0b\x08\0\x02\0\x03\x01\0\0\0"), Ok(PictureType::Jpeg));
        let mut bmp = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0".to_vec();
        bmp.resize(58, 0);
        assert_eq!(picture(&bmp), Ok(PictureType::Bmp));
    }

    #[test]
    fn what_is_none_or_too_much_is_refused() {
        for bytes in [
            b"".as_slice(),
            b"hello, I am a picture",
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
            b"<?xml version=\"1.0\"?><svg/>",
            b"\x89PNG but no more",
            b"GIF90a\x01\0\x01\0",
            b"BMW is a car maker of Munich",
            b"\xff\xd8\xff",
            b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10",
            &png(3, 2)[..20],
        ] {
            assert_eq!(picture(bytes), Err(NoPicture::OtherType), "{}", String::from_utf8_lossy(bytes));
        }
        for bomb in [png(u32::MAX, u32::MAX), png(50_000, 50_000), png(0, 7), png(50_000_001, 1)] {
            assert_eq!(picture(&bomb), Err(NoPicture::Dimensions));
        }
        let mut large = png(3, 2);
        large.resize(PICTURE_BYTES_MAX, 0);
        assert_eq!(picture(&large), Ok(PictureType::Png));
        large.push(0);
        assert_eq!(picture(&large), Err(NoPicture::TooLarge));
    }

    #[test]
    fn a_file_name_is_made_harmless_and_keeps_its_ending() {
        let name = |given: &str| file_name(given, PictureType::Png);
        assert_eq!(name("cat.png").as_deref(), Ok("cat.png"));
        assert_eq!(name("Cat.JPEG").as_deref(), Ok("Cat.JPEG"));
        assert_eq!(name("ein schönes Bild?.png").as_deref(), Ok("ein_sch_nes_Bild_.png"));
        assert_eq!(name("page.html").as_deref(), Ok("page.html.png"));
        assert_eq!(name("").as_deref(), Ok("picture.png"));
        assert_eq!(name("...").as_deref(), Ok("picture.png"));
        assert_eq!(name(".png").as_deref(), Ok("png.png"));
        assert_eq!(name(&"x".repeat(300)).map(|name| name.len()), Ok(NAME_CHARS_MAX));
        for path in ["../../etc/passwd.png", "..", "a/b.png", "C:\\x.png", "..\\x.png", "a\0.png"] {
            assert!(name(path).is_err(), "{path}");
        }
    }

    #[test]
    fn only_our_own_names_are_looked_for() {
        let name = picture_name([0xab; 16], "cat.png");
        assert_eq!(name, "abababab-abab-4bab-abab-abababababab_cat.png");
        assert!(is_picture_name(&name));
        for foreign in [
            "",
            "cat.png",
            "..",
            "abababab-abab-4bab-abab-abababababab_",
            "abababab-abab-4bab-abab-abababababab_.x",
            "abababab-abab-4bab-abab-abababababab_a%2fb",
            "abababab-abab-4bab-abab-abababababab-cat.png",
            "ABABABAB-abab-4bab-abab-abababababab_cat.png",
            "ééééééééééééééééééééééé",
        ] {
            assert!(!is_picture_name(foreign), "{foreign}");
        }
        let longest = file_name(&"x".repeat(300), PictureType::Jpeg).unwrap();
        assert!(is_picture_name(&picture_name([0; 16], &longest)));
    }

    #[test]
    fn a_message_is_counted_in_characters() {
        assert_eq!(message(&"ü".repeat(255)), Ok(()));
        assert!(message(&"ü".repeat(256)).is_err());
        assert!(message(" \n").is_err());
    }

    #[test]
    fn a_name_begins_with_a_random_uuid() {
        let none = "00000000-0000-4000-8000-000000000000_a.png";
        assert_eq!(picture_name([0; 16], "a.png"), none);
        assert_eq!(picture_name([0xff; 16], "a.png"), "ffffffff-ffff-4fff-bfff-ffffffffffff_a.png");
        assert!(is_picture_name(none));
    }
}
