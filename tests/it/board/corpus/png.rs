//! PNG: every depth and colour, interlaced or not, and chunks before, between and after.

use hyperdesk::board::head::PictureType::Png;

use super::{HEIGHT, Odd, WIDTH, odd};

/// Colour types, their samples for each pixel, and the depths that they have.
const COLOURS: [(u8, usize, &[u8]); 5] =
    [(0, 1, &[1, 2, 4, 8, 16]), (2, 3, &[8, 16]), (3, 1, &[1, 2, 4, 8]), (4, 2, &[8, 16]), (6, 4, &[8, 16])];
/// Adam7: where each pass begins, and how far its pixels are apart.
const PASSES: [(usize, usize, usize, usize); 7] =
    [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind, data].concat();
    [&(data.len() as u32).to_be_bytes(), body.as_slice(), &crc(&body).to_be_bytes()].concat()
}

fn header(width: u32, height: u32, depth: u8, colour: u8, interlaced: bool) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[size.as_slice(), &[depth, colour, 0, 0, u8::from(interlaced)]].concat())
}

/// Zeros, not compressed: each row is its filter, none, and black pixels.
fn pixels(depth: u8, samples: usize, interlaced: bool) -> Vec<u8> {
    let rows = |width: usize, height: usize| {
        if width == 0 { 0 } else { height * (1 + (width * samples * usize::from(depth)).div_ceil(8)) }
    };
    let (width, height) = (WIDTH as usize, HEIGHT as usize);
    let length: usize = if interlaced {
        let pass = |(x, y, right, down): (usize, usize, usize, usize)| {
            rows((width - x).div_ceil(right), (height - y).div_ceil(down))
        };
        PASSES.into_iter().map(pass).sum()
    } else {
        rows(width, height)
    };
    let short = u16::try_from(length).unwrap();
    // Adler-32 of so many zeros: 1, and 1 added so often.
    let adler = ((length as u32 % 65_521) << 16) | 1;
    let block = [[1].as_slice(), &short.to_le_bytes(), &(!short).to_le_bytes(), &vec![0; length]].concat();
    [b"\x78\x01", block.as_slice(), &adler.to_be_bytes()].concat()
}

fn png(parts: &[Vec<u8>]) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n".as_slice(), &parts.concat()].concat()
}

/// True colour with these chunks before, and the data in these pieces.
fn with(chunks: &[Vec<u8>], pieces: usize) -> Vec<u8> {
    let data = pixels(8, 3, false);
    let data: Vec<Vec<u8>> =
        data.chunks(data.len().div_ceil(pieces)).map(|piece| chunk(b"IDAT", piece)).collect();
    png(&[header(WIDTH, HEIGHT, 8, 2, false), chunks.concat(), data.concat(), chunk(b"IEND", b"")])
}

pub fn odds() -> Vec<Odd> {
    let mut odds = Vec::new();
    for (colour, samples, depths) in COLOURS {
        for depth in depths {
            for interlaced in [false, true] {
                let palette = if colour == 3 { chunk(b"PLTE", b"rgbRGB") } else { Vec::new() };
                let bytes = png(&[
                    header(WIDTH, HEIGHT, *depth, colour, interlaced),
                    palette,
                    chunk(b"IDAT", &pixels(*depth, samples, interlaced)),
                    chunk(b"IEND", b""),
                ]);
                let name = format!("png of colour type {colour}, {depth} bits, interlaced {interlaced}");
                odds.push(odd(Png, name, bytes));
            }
        }
    }
    let long = [b"Comment\0".as_slice(), &[b'x'; 9_000]].concat();
    let ancillary = [
        chunk(b"gAMA", &45_455_u32.to_be_bytes()),
        chunk(b"sRGB", b"\0"),
        chunk(b"pHYs", b"\0\0\x0b\x13\0\0\x0b\x13\x01"),
        chunk(b"tIME", b"\x07\xea\x0b\x15\x02\x03\x04"),
        chunk(b"tEXt", &long),
        chunk(b"iTXt", b"Title\0\0\0de\0Titel\0\xc3\xa4"),
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0"),
        chunk(b"prVt", b"IHDR\xff\xff\xff\xff\xff\xff\xff\xff"),
        chunk(b"bKGD", b"\0\0\0\0\0\0"),
        chunk(b"tRNS", b"\0\0\0\0\0\0"),
    ];
    odds.push(odd(Png, "png with ancillary chunks", with(&ancillary, 1)));
    odds.push(odd(Png, "png with a suggested palette", with(&[chunk(b"PLTE", b"rgbRGB")], 1)));
    odds.push(odd(Png, "png in many pieces", with(&[], 400)));
    odds.push(odd(Png, "png whose first piece is empty", with(&[chunk(b"IDAT", b"")], 2)));
    odds.push(odd(Png, "png and more behind its end", [with(&[], 1), vec![7; 99]].concat()));
    let frame = [[0; 4], WIDTH.to_be_bytes(), HEIGHT.to_be_bytes(), [0; 4], [0; 4], [0, 1, 0, 9]].concat();
    let animated =
        [chunk(b"acTL", b"\0\0\0\x01\0\0\0\0"), chunk(b"fcTL", &[frame.as_slice(), &[0, 0]].concat())];
    odds.push(odd(Png, "png that is animated", with(&animated, 1)));
    odds
}

pub fn bombs() -> Vec<(String, Vec<u8>)> {
    let largest = i32::MAX as u32;
    [(65_535, 65_535), (largest, largest), (u32::MAX, u32::MAX), (50_000_001, 1), (1, largest)]
        .into_iter()
        .flat_map(|(width, height)| [(width, height, false), (width, height, true)])
        .map(|(width, height, interlaced)| {
            let head = header(width, height, 1, 0, interlaced);
            let bytes = png(&[head, chunk(b"IDAT", &pixels(1, 1, interlaced)), chunk(b"IEND", b"")]);
            (format!("png of {width} × {height}, interlaced {interlaced}"), bytes)
        })
        .collect()
}
