//! JPEG: the frames there are, and what may stand before them.

use hyperdesk::board::head::PictureType::Jpeg;

use super::{HEIGHT, Odd, WIDTH, odd, unknown};

fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 2).unwrap();
    [[0xff, marker].as_slice(), &length.to_be_bytes(), data].concat()
}

/// A frame header: its kind (0 for SOF0 and so on), bits for each sample, and its components' sampling.
fn frame_of((width, height): (u16, u16), kind: u8, precision: u8, sampling: &[u8]) -> Vec<u8> {
    let mut data = vec![precision];
    data.extend([height, width].map(u16::to_be_bytes).concat());
    data.push(sampling.len() as u8);
    data.extend((1..).zip(sampling).flat_map(|(component, sampling)| [component, *sampling, 0]));
    segment(0xc0 + kind, &data)
}

fn frame(kind: u8, precision: u8, sampling: &[u8]) -> Vec<u8> {
    frame_of((WIDTH as u16, HEIGHT as u16), kind, precision, sampling)
}

/// The tables: nothing is quantised, and one code of one bit, 0, for the symbol 0, "no difference, no more".
fn tables() -> Vec<u8> {
    let quantisation = segment(0xdb, &[[0].as_slice(), &[1; 64]].concat());
    let codes = |class: u8| segment(0xc4, &[[class, 1].as_slice(), &[0; 15], &[0]].concat());
    [quantisation, codes(0x00), codes(0x10)].concat()
}

/// One scan of so many components, and its bits: so many zeros, then ones up to the byte's end.
fn scan(components: u8, (from, to): (u8, u8), zeros: usize) -> Vec<u8> {
    let mut data = vec![components];
    data.extend((1..=components).flat_map(|component| [component, 0]));
    data.extend([from, to, 0]);
    let mut bits = vec![0; zeros / 8];
    if !zeros.is_multiple_of(8) {
        bits.push(0xff >> (zeros % 8));
    }
    [segment(0xda, &data), bits].concat()
}

const BEGIN: &[u8] = b"\xff\xd8";
const END: &[u8] = b"\xff\xd9";

/// One of grey, 6 blocks of 2 codes each, with this before its frame.
fn with(before: &[u8]) -> Vec<u8> {
    let rest = [tables(), frame(0, 8, &[0x11]), scan(1, (0, 63), 12)].concat();
    [BEGIN, before, &rest, END].concat()
}

/// One of this frame, whose compressed data is not right: nobody here knows it.
fn of_frame(frame: &[u8]) -> Vec<u8> {
    [BEGIN, &tables(), frame, &scan(1, (0, 63), 12), END].concat()
}

fn jfif(thumbnail: (u8, u8)) -> Vec<u8> {
    let pixels = vec![0xff; usize::from(thumbnail.0) * usize::from(thumbnail.1) * 3];
    segment(0xe0, &[b"JFIF\0\x01\x02\0\0\x01\0\x01", [thumbnail.0, thumbnail.1].as_slice(), &pixels].concat())
}

/// EXIF of this length with a whole JPEG of another size in it, as cameras put there.
fn exif(length: usize) -> Vec<u8> {
    let inner = [BEGIN, &tables(), &frame_of((160, 120), 0, 8, &[0x11])].concat();
    let mut data = [b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0".as_slice(), &inner].concat();
    data.resize(length, 0xff);
    segment(0xe1, &data)
}

/// Restart markers after every block, each with its interval said before.
fn restarts() -> Vec<u8> {
    let blocks: Vec<u8> = (0..6).flat_map(|block| [0x3f, 0xff, 0xd0 + block]).collect();
    let head = [tables(), segment(0xdd, &[0, 1]), frame(0, 8, &[0x11]), scan(1, (0, 63), 0)].concat();
    [BEGIN, &head, &blocks[..blocks.len() - 2], END].concat()
}

/// Each segment with so many bytes of 0xff before its own.
fn filled(fill: usize) -> Vec<u8> {
    let fill = vec![0xff; fill];
    let tables = tables();
    let (quantisation, codes) = tables.split_at(69);
    let (dc, ac) = codes.split_at(codes.len() / 2);
    let parts = [&jfif((0, 0)), quantisation, dc, ac, &frame(0, 8, &[0x11]), &scan(1, (0, 63), 12), END];
    [BEGIN.to_vec(), parts.iter().flat_map(|part| [&fill, *part].concat()).collect()].concat()
}

/// The kinds that `image` unpacks, with one to four components.
fn decoded() -> Vec<(&'static str, Vec<u8>)> {
    let whole = |frame: Vec<u8>, scans: &[Vec<u8>]| [BEGIN, &tables(), &frame, &scans.concat(), END].concat();
    let adobe = segment(0xee, b"Adobe\0\x64\0\0\0\0\0");
    vec![
        ("grey", whole(frame(0, 8, &[0x11]), &[scan(1, (0, 63), 12)])),
        ("extended", whole(frame(1, 8, &[0x11]), &[scan(1, (0, 63), 12)])),
        ("progressive", whole(frame(2, 8, &[0x11]), &[scan(1, (0, 0), 6), scan(1, (1, 63), 6)])),
        ("progressive in colour", whole(frame(2, 8, &[0x11; 3]), &[scan(3, (0, 0), 18)])),
        ("in colour", whole(frame(0, 8, &[0x11; 3]), &[scan(3, (0, 63), 36)])),
        ("of 4:2:0", whole(frame(0, 8, &[0x22, 0x11, 0x11]), &[scan(3, (0, 63), 24)])),
        ("of CMYK", whole([adobe, frame(0, 8, &[0x11; 4])].concat(), &[scan(4, (0, 63), 48)])),
        ("with restart markers", restarts()),
    ]
}

pub fn odds() -> Vec<Odd> {
    let mut odds: Vec<Odd> =
        decoded().into_iter().map(|(name, bytes)| odd(Jpeg, format!("jpeg {name}"), bytes)).collect();
    let profile = segment(0xe2, &[b"ICC_PROFILE\0\x01\x02".as_slice(), &[0x55; 65_519]].concat());
    let comment = segment(0xfe, b"\xff\xc0\0\x0b\x08\0\x02\0\x03\x01\x11\0");
    let many: Vec<u8> = (0xe0..=0xef).flat_map(|marker| segment(marker, b"of some program")).collect();
    for (name, before) in [
        ("with nothing before", Vec::new()),
        ("of JFIF", jfif((0, 0))),
        ("with a thumbnail of JFIF", jfif((90, 80))),
        ("with a thumbnail in EXIF", exif(20_000)),
        ("with the longest EXIF", exif(65_533)),
        ("with EXIF before JFIF", [exif(300), jfif((0, 0))].concat()),
        ("with a long profile in parts", profile.repeat(3)),
        ("with a frame in a comment", comment),
        ("with an empty comment", segment(0xfe, b"")),
        ("with all APP segments", many),
        ("with a restart interval of none", segment(0xdd, &[0, 0])),
    ] {
        odds.push(odd(Jpeg, format!("jpeg {name}"), with(&before)));
    }
    for fill in [1, 2, 3, 500] {
        odds.push(odd(Jpeg, format!("jpeg with {fill} fill bytes before each marker"), filled(fill)));
    }
    odds.push(odd(Jpeg, "jpeg and more behind its end", [with(b""), exif(99)].concat()));
    for (name, kind, precision) in [
        ("of 12 bits", 1, 12),
        ("progressive, of 12 bits", 2, 12),
        ("lossless", 3, 16),
        ("differential", 5, 8),
        ("differential progressive", 6, 8),
        ("differential lossless", 7, 16),
        ("arithmetic", 9, 8),
        ("arithmetic progressive", 10, 8),
        ("arithmetic lossless", 11, 12),
        ("arithmetic differential", 13, 8),
        ("arithmetic differential progressive", 14, 8),
        ("arithmetic differential lossless", 15, 8),
    ] {
        odds.push(unknown(Jpeg, format!("jpeg {name}"), of_frame(&frame(kind, precision, &[0x11]))));
    }
    let conditioned = [segment(0xcc, &[0, 0x10]), frame(9, 8, &[0x11])].concat();
    odds.push(unknown(Jpeg, "jpeg with arithmetic conditioning", of_frame(&conditioned)));
    // DHP: like a frame header, and before all of them.
    let mut hierarchical = [frame(0, 8, &[0x11]), frame_of((12, 8), 0, 8, &[0x11])].concat();
    hierarchical[1] = 0xde;
    odds.push(unknown(Jpeg, "jpeg that is hierarchical", of_frame(&hierarchical)));
    odds
}

pub fn bombs() -> Vec<(String, Vec<u8>)> {
    let huge = |kind| frame_of((u16::MAX, u16::MAX), kind, 8, &[0x11]);
    let mut bombs: Vec<(String, Vec<u8>)> = [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15]
        .map(|kind| (format!("jpeg with a huge frame of kind {kind}"), of_frame(&huge(kind))))
        .into();
    for (name, before) in [
        ("fill bytes", vec![0xff; 9_000]),
        ("long segments", exif(65_533).repeat(5)),
        ("a small frame", frame(0, 8, &[0x11])),
        ("restart markers", b"\xff\xd0\xff\x01\xff\xff\xd7".to_vec()),
        ("garbage", b"\0\x01\xff\0\x02".to_vec()),
    ] {
        bombs.push((format!("jpeg with a huge frame after {name}"), of_frame(&[before, huge(0)].concat())));
    }
    bombs.push(("jpeg with no height before its data".to_owned(), {
        of_frame(&frame_of((WIDTH as u16, 0), 0, 8, &[0x11]))
    }));
    bombs
}
