//! What a picture's first bytes say: its type, and how many pixels whoever shows it must hold. Pure.
//!
//! Nothing is unpacked, and each byte is looked at once at most, so a file costs no more than its length
//! whatever it claims. A valid file is read as decoders read it, the odd ones too (`tests/it/board/odd.rs`
//! compares with one). Where decoders differ, the larger size counts: the limit is for the worst of them.

/// The pictures that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PictureType {
    Jpeg,
    Png,
    Gif,
    Bmp,
}

/// Width and height, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    /// Width times height: two numbers of 32 bits always fit.
    #[must_use]
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The smallest that holds both.
    fn union(self, other: Self) -> Self {
        Self { width: self.width.max(other.width), height: self.height.max(other.height) }
    }
}

impl PictureType {
    /// The type that a file's first bytes tell: whole signatures, not just their beginnings.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // A JPEG has no more of a signature: the beginning of the file, and of a second marker.
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            // Its first chunk is IHDR, of 13 bytes.
            _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR") => Some(Self::Png),
            _ if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") => Some(Self::Gif),
            // Two letters are a weak signature: the length of the header that follows must be one that exists.
            // (The bytes marked reserved are whatever the program that wrote it likes.)
            [b'B', b'M', ..] if is_bmp_header(u32_le(bytes, BMP_HEADER)?) => Some(Self::Bmp),
            _ => None,
        }
    }

    /// For `Content-Type`.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
        }
    }

    /// Of a file's name.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
        }
    }

    /// The size of a file of this type. None where it is broken off before it says so, or says nothing.
    #[must_use]
    pub fn size(self, bytes: &[u8]) -> Option<Size> {
        match self {
            Self::Jpeg => jpeg(bytes),
            Self::Png => Some(Size { width: u32_be(bytes, 16)?, height: u32_be(bytes, 20)? }),
            Self::Gif => gif(bytes),
            Self::Bmp => bmp(bytes),
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// Where the header of a BMP begins, after that of the file. Its first field is its own length.
const BMP_HEADER: usize = 14;
/// BITMAPCOREHEADER, of OS/2 1.x and Windows 2: the one whose sizes have 16 bits.
const BMP_CORE: u32 = 12;

/// Whether there is a BMP header of this length: Windows' five (BITMAPINFOHEADER, V2 to V5), and OS/2's second
/// one, of 64 bytes, which may be cut after any of its fields.
fn is_bmp_header(length: u32) -> bool {
    match length {
        BMP_CORE | 40 | 42 | 46 | 52 | 56 | 108 | 124 => true,
        16..=64 => length.is_multiple_of(4),
        _ => false,
    }
}

fn bmp(bytes: &[u8]) -> Option<Size> {
    if u32_le(bytes, BMP_HEADER)? == BMP_CORE {
        return Some(Size {
            width: u16_le(bytes, BMP_HEADER + 4)?.into(),
            height: u16_le(bytes, BMP_HEADER + 6)?.into(),
        });
    }
    // A negative height says that the topmost row is the first. A negative width says nothing: it is read as
    // the large number that it would be without a sign, which is too large.
    let height = array(bytes, BMP_HEADER + 8).map(i32::from_le_bytes)?;
    Some(Size { width: u32_le(bytes, BMP_HEADER + 4)?, height: height.unsigned_abs() })
}

/// The canvas, and all frames that go beyond it: browsers widen the canvas to them.
fn gif(bytes: &[u8]) -> Option<Size> {
    let mut size = Size { width: u16_le(bytes, 6)?.into(), height: u16_le(bytes, 8)?.into() };
    let mut at = 13 + colour_table(*bytes.get(10)?);
    while let Some(frame) = gif_block(bytes, &mut at) {
        size = frame.map_or(size, |frame| size.union(frame));
    }
    Some(size)
}

/// Bytes of the colour table that these flags announce.
fn colour_table(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Goes over one block: what a frame covers, or nothing of an extension. None at the end, which is also where
/// something follows that is no block.
fn gif_block(bytes: &[u8], at: &mut usize) -> Option<Option<Size>> {
    let begin = *at;
    let frame = match bytes.get(begin)? {
        b'!' => {
            *at = begin + 2;
            None
        }
        b',' => {
            let field = |offset: usize| u16_le(bytes, begin + offset).map(u32::from);
            // After the descriptor and its colour table: one byte, the width of codes.
            *at = begin + 10 + colour_table(*bytes.get(begin + 9)?) + 1;
            Some(Size { width: field(1)? + field(5)?, height: field(3)? + field(7)? })
        }
        _ => return None,
    };
    // Sub-blocks, each after its length, up to one that is empty. Those of a frame that is broken off do not
    // end: the frame counts all the same.
    while let Some(&length) = bytes.get(*at) {
        *at += 1 + usize::from(length);
        if length == 0 {
            break;
        }
    }
    Some(frame)
}

/// The size that the frame header (SOF) before the first scan says.
fn jpeg(bytes: &[u8]) -> Option<Size> {
    let mut size: Option<Size> = None;
    let mut at = 2;
    while let Some(marker) = jpeg_marker(bytes, &mut at) {
        match marker {
            // RST and TEM have no length, nothing in them.
            0x01 | 0xd0..=0xd7 => continue,
            // SOI again, EOI, and SOS, the first scan.
            0xd8..=0xda => break,
            // SOF 0 to 15, less DHT, JPG and DAC; and DHP, the size of all frames of a hierarchical one.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xde => {
                let height = u16_be(bytes, at + 3)?.into();
                let said = Size { width: u16_be(bytes, at + 5)?.into(), height };
                // A second one is a mistake which some decoders take.
                size = Some(size.map_or(said, |size| size.union(said)));
            }
            _ => {}
        }
        // Its length counts itself. Less is a mistake that no decoder goes beyond.
        let Some(length) = u16_be(bytes, at).filter(|length| *length >= 2) else { break };
        at += usize::from(length);
    }
    size
}

/// The next marker, and `at` after it. Any number of 0xff may stand before one. Other bytes between segments
/// are a mistake which decoders pass over.
fn jpeg_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let fill = *at + memchr::memchr(0xff, bytes.get(*at..)?)?;
        let marker = bytes.get(fill..)?.iter().position(|byte| *byte != 0xff)?;
        *at = fill + marker + 1;
        match bytes.get(fill + marker)? {
            // A byte of 0xff as such, in compressed data.
            0 => {}
            marker => return Some(*marker),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(bytes: &[u8]) -> Option<(u32, u32)> {
        let size = PictureType::of(bytes)?.size(bytes)?;
        Some((size.width, size.height))
    }

    fn bmp_of(header: &[u8]) -> Vec<u8> {
        [b"BM\0\0\0\0made\0\0\0\0".as_slice(), header].concat()
    }

    #[test]
    fn a_bmp_has_one_of_many_headers() {
        assert_eq!(size(&bmp_of(b"\x0c\0\0\0\x03\0\xff\xff")), Some((3, 65_535)));
        for length in [16_u8, 20, 24, 40, 42, 46, 48, 52, 56, 64, 108, 124] {
            let header = |size: &[u8]| bmp_of(&[&[length, 0, 0, 0], size].concat());
            assert_eq!(size(&header(b"\x03\0\0\0\x02\0\0\0")), Some((3, 2)), "{length}");
            assert_eq!(size(&header(b"\x03\0\0\0\xfe\xff\xff\xff")), Some((3, 2)), "{length} top-down");
            assert_eq!(size(&header(b"\x03\0\0\0\0\0\0\x80")), Some((3, 1 << 31)));
            assert_eq!(size(&header(b"\xff\xff\xff\xff\xff\xff\xff\xff")), Some((u32::MAX, 1)));
        }
        for length in [0_u8, 11, 13, 18, 41, 68, 123, 125, 255] {
            assert_eq!(size(&bmp_of(&[length, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0])), None, "{length}");
        }
    }

    #[test]
    fn a_gif_is_as_large_as_its_largest_frame() {
        let canvas = b"GIF87a\x03\0\x02\0\x80\0\0rgbrgb";
        let frame = b",\x01\0\x02\0\x04\0\x05\0\x80rgbrgb\x02\x01\x44\0";
        let comment = b"!\xfe\x01,\x02,,\0";
        assert_eq!(size(canvas), Some((3, 2)));
        assert_eq!(size(&[canvas.as_slice(), comment, frame, b";"].concat()), Some((5, 7)));
        let last = b",\0\0\0\0\xff\xff\xff\xff\0";
        assert_eq!(size(&[canvas.as_slice(), frame, comment, last].concat()), Some((65_535, 65_535)));
        // Behind the end, or what is no block, nothing is looked at.
        assert_eq!(size(&[canvas.as_slice(), b";", frame].concat()), Some((3, 2)));
        assert_eq!(size(&[canvas.as_slice(), b"\0", frame].concat()), Some((3, 2)));
    }

    #[test]
    fn a_jpeg_is_read_up_to_its_first_scan() {
        let frame = |kind: u8, height: u8| [0xff, kind, 0, 11, 8, 0, height, 0, 3, 1, 1, 0x11, 0];
        let of = |parts: &[&[u8]]| size(&[&[0xff, 0xd8], parts.concat().as_slice()].concat());
        for kind in 0xc0..=0xcf {
            let is_frame = ![0xc4, 0xc8, 0xcc].contains(&kind);
            assert_eq!(of(&[&frame(kind, 2)]), is_frame.then_some((3, 2)), "{kind:x}");
        }
        assert_eq!(of(&[&[0xff; 99], &frame(0xc0, 2)]), Some((3, 2)));
        assert_eq!(of(&[b"\xff\xfe\0\x05abc\xff\xff\xff\x01\xff\xd0", &frame(0xc0, 2)]), Some((3, 2)));
        assert_eq!(of(&[b"\xff\xe1\0\x0f", &frame(0xc0, 7), &frame(0xc2, 2)]), Some((3, 2)), "a thumbnail");
        assert_eq!(of(&[b"\xff\xfe\0\x02garbage\xff\0", &frame(0xc0, 2)]), Some((3, 2)));
        assert_eq!(of(&[&frame(0xc0, 2), &frame(0xc0, 9)]), Some((3, 9)), "the larger of two");
        assert_eq!(of(&[&frame(0xc0, 2), b"\xff\xda\0\x02", &frame(0xc0, 9)]), Some((3, 2)));
        for nothing in [b"\xff\xd9".as_slice(), b"\xff\xd8", b"\xff\xda\0\x02", b"\xff\xfe\0\x01"] {
            assert_eq!(of(&[nothing, &frame(0xc0, 2)]), None);
        }
        assert_eq!(of(&[&frame(0xc0, 2)[..8]]), None);
    }

    #[test]
    fn a_gif_is_read_with_and_without_colour_tables() {
        let canvas = b"GIF89a\x03\0\x02\0\0\0\0";
        // Codes of 8 bits: a reader that takes this byte for a length goes too far.
        let plain = b",\0\0\0\0\x02\0\x02\0\0\x08\x01\x44\0";
        let table = b",\0\0\0\0\x02\0\x02\0\x81rgbrgbrgbrgb\x08\x01\x44\0";
        let large = b",\0\0\0\0\x09\0\x08\0\0\x08\0";
        for frames in [&[plain.as_slice()][..], &[table], &[plain, table, plain], &[]] {
            assert_eq!(
                size(&[canvas, frames.concat().as_slice(), large].concat()),
                Some((9, 8)),
                "{frames:?}"
            );
        }
    }

    #[test]
    fn each_type_has_its_name() {
        use PictureType::{Bmp, Gif, Jpeg, Png};
        let names = [Jpeg, Png, Gif, Bmp].map(PictureType::media_type);
        assert_eq!(names, ["image/jpeg", "image/png", "image/gif", "image/bmp"]);
    }
}
