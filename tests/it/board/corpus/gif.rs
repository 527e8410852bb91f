//! GIF: both versions, tables of colours here and there, extensions first, animations.

use hyperdesk::board::head::PictureType::Gif;

use super::{HEIGHT, Odd, WIDTH, odd};

/// A frame to be written.
#[derive(Clone, Copy)]
struct Frame {
    left: u16,
    top: u16,
    width: u16,
    height: u16,
    /// The local table's bits, where there is one.
    table: Option<u8>,
    interlaced: bool,
}

const WHOLE: Frame =
    Frame { left: 0, top: 0, width: WIDTH as u16, height: HEIGHT as u16, table: None, interlaced: false };

/// A length of 255 at most before each piece, and an empty one last.
fn sub_blocks(data: &[u8]) -> Vec<u8> {
    let mut blocks: Vec<u8> =
        data.chunks(255).flat_map(|piece| [&[piece.len() as u8], piece].concat()).collect();
    blocks.push(0);
    blocks
}

/// So many pixels of colour 0, in codes of 3 bits: a clear code (4) before every second one keeps them so short.
fn pixels(count: usize) -> Vec<u8> {
    let mut codes: Vec<u8> = (0..count.div_ceil(2)).flat_map(|_| [4, 0, 0]).collect();
    codes.push(5);
    let bits: Vec<u8> = codes.iter().flat_map(|code| (0..3).map(move |bit| code >> bit & 1)).collect();
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
    [[2].as_slice(), &sub_blocks(&bits.chunks(8).map(byte).collect::<Vec<u8>>())].concat()
}

/// The flags of a table and the table itself.
fn table(bits: Option<u8>) -> (u8, Vec<u8>) {
    bits.map_or((0, Vec::new()), |bits| (0x80 | (bits - 1), vec![b','; 3 << bits]))
}

impl Frame {
    fn descriptor(self) -> Vec<u8> {
        let (flags, table) = table(self.table);
        let flags = flags | if self.interlaced { 0x40 } else { 0 };
        let size: Vec<u8> =
            [self.left, self.top, self.width, self.height].iter().flat_map(|n| n.to_le_bytes()).collect();
        [b",".as_slice(), &size, &[flags], &table].concat()
    }

    fn bytes(self) -> Vec<u8> {
        [self.descriptor(), pixels(usize::from(self.width) * usize::from(self.height))].concat()
    }
}

fn head(version: &[u8; 6], (width, height): (u16, u16), global: Option<u8>) -> Vec<u8> {
    let (flags, table) = table(global);
    [version.as_slice(), &width.to_le_bytes(), &height.to_le_bytes(), &[flags, 0, 49], &table].concat()
}

fn gif(version: &[u8; 6], global: Option<u8>, blocks: &[Vec<u8>]) -> Vec<u8> {
    let canvas = head(version, (WHOLE.width, WHOLE.height), global);
    [canvas, blocks.concat(), b";".to_vec()].concat()
}

fn extension(label: u8, head: &[u8], data: &[u8]) -> Vec<u8> {
    let head = if head.is_empty() { Vec::new() } else { [&[head.len() as u8], head].concat() };
    [[b'!', label].as_slice(), &head, &sub_blocks(data)].concat()
}

fn comment(length: usize) -> Vec<u8> {
    extension(0xfe, b"", &vec![b','; length])
}

fn control() -> Vec<u8> {
    extension(0xf9, b"\x05\x0a\0\0", b"")
}

/// XMP is not in sub-blocks: a ramp of 258 bytes behind it leads whoever counts it as such to its end.
fn xmp() -> Vec<u8> {
    let ramp: Vec<u8> = [1].into_iter().chain((0..=255).rev()).chain([0]).collect();
    let text = "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">,,,</x:xmpmeta>".repeat(9);
    [b"!\xff\x0bXMP DataXMP", text.as_bytes(), &ramp].concat()
}

pub fn odds() -> Vec<Odd> {
    let whole = WHOLE.bytes();
    let small = Frame { left: 3, top: 2, width: 5, height: 4, ..WHOLE };
    let looped = extension(0xff, b"NETSCAPE2.0", b"\x01\0\0");
    let text = extension(0x01, &[0; 12], b"plain text,");
    let mut odds: Vec<Odd> = (1..=8)
        .flat_map(|bits| {
            let local = Frame { table: Some(bits), ..WHOLE }.bytes();
            [
                (format!("gif 87a with a table of {bits} bits"), b"GIF87a", Some(bits), whole.clone()),
                (format!("gif 89a with its own table of {bits} bits"), b"GIF89a", None, local.clone()),
                (format!("gif 89a with two tables of {bits} bits"), b"GIF89a", Some(bits), local),
            ]
        })
        .map(|(name, version, global, frame)| odd(Gif, name, gif(version, global, &[frame])))
        .collect();
    let interlaced = Frame { interlaced: true, ..WHOLE }.bytes();
    let animation =
        [looped.clone(), control(), whole.clone(), control(), small.bytes(), control(), whole.clone()];
    let others: [(&str, Vec<Vec<u8>>); 7] = [
        ("gif that is interlaced", vec![interlaced]),
        ("gif that is animated", animation.to_vec()),
        ("gif with a frame smaller than the canvas", vec![small.bytes()]),
        ("gif with a long comment first", vec![comment(40_000), whole.clone()]),
        ("gif with all extensions first", vec![comment(3), looped, text, control(), whole.clone()]),
        ("gif with XMP first", vec![xmp(), whole.clone()]),
        ("gif with an empty extension", vec![extension(0xfe, b"", b""), whole.clone()]),
    ];
    odds.extend(others.into_iter().map(|(name, blocks)| odd(Gif, name, gif(b"GIF89a", Some(2), &blocks))));
    let behind = [gif(b"GIF89a", Some(2), std::slice::from_ref(&whole)), b",,,,".repeat(9)].concat();
    odds.push(odd(Gif, "gif and more behind its end", behind));
    let mut endless = gif(b"GIF89a", Some(2), &[whole]);
    endless.pop();
    odds.push(odd(Gif, "gif without an end", endless));
    odds
}

pub fn bombs() -> Vec<(String, Vec<u8>)> {
    let huge = Frame { width: u16::MAX, height: u16::MAX, ..WHOLE };
    let far = Frame { left: u16::MAX, top: u16::MAX, ..WHOLE };
    let data = pixels(9);
    let frame = |frame: Frame| [frame.descriptor(), data.clone()].concat();
    let beyond = |blocks: &[Vec<u8>]| gif(b"GIF89a", Some(8), blocks);
    let canvas = head(b"GIF87a", (u16::MAX, u16::MAX), Some(2));
    [
        ("gif with a huge canvas", [canvas, WHOLE.bytes(), b";".to_vec()].concat()),
        ("gif with a huge frame", beyond(&[frame(huge)])),
        ("gif with a frame far out", beyond(&[frame(far)])),
        (
            "gif with a huge frame behind others",
            beyond(&[comment(90_000), WHOLE.bytes(), xmp(), frame(huge)]),
        ),
        ("gif with a huge frame and a table", beyond(&[frame(Frame { table: Some(8), ..huge })])),
        ("gif broken off in a huge frame", [head(b"GIF89a", (1, 1), None), huge.descriptor()].concat()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}
