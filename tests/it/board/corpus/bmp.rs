//! BMP: the headers of OS/2 and of Windows 2 to 98, top-down or not, all depths, run lengths and bit fields.

use hyperdesk::board::head::PictureType::Bmp;

use super::{HEIGHT, Odd, WIDTH, odd, unknown};

/// What the file's header says of itself: its reserved bytes are the program's that wrote it.
fn file(reserved: &[u8; 4], header: &[u8], palette: &[u8], pixels: &[u8]) -> Vec<u8> {
    let begin = 14 + header.len() + palette.len();
    let length = (begin + pixels.len()) as u32;
    let head = [b"BM", length.to_le_bytes().as_slice(), reserved, &(begin as u32).to_le_bytes()].concat();
    [head.as_slice(), header, palette, pixels].concat()
}

fn core_header(width: u16, height: u16, depth: u16) -> Vec<u8> {
    let fields = [width, height, 1, depth].map(u16::to_le_bytes);
    [12_u32.to_le_bytes().as_slice(), &fields.concat()].concat()
}

/// BITMAPINFOHEADER, cut to a length or filled up to it, as the later ones begin with it.
fn info_header(length: usize, width: i32, height: i32, depth: u16, compression: u32) -> Vec<u8> {
    let mut header = (length as u32).to_le_bytes().to_vec();
    header.extend([width, height].map(i32::to_le_bytes).concat());
    header.extend([1, depth].map(u16::to_le_bytes).concat());
    header.extend(compression.to_le_bytes());
    header.resize(40, 0);
    // The masks of red, green and blue, which have a place in V2 and later.
    if length >= 52 && compression == 3 {
        header.extend(masks(depth));
    }
    header.resize(length, 0);
    header
}

fn masks(depth: u16) -> Vec<u8> {
    let masks: [u32; 3] = if depth == 16 { [0xf800, 0x07e0, 0x001f] } else { [0x00ff_0000, 0xff00, 0xff] };
    masks.map(u32::to_le_bytes).concat()
}

/// Black rows, each of whole groups of four bytes.
fn rows(depth: u16) -> Vec<u8> {
    vec![0; (WIDTH as usize * usize::from(depth)).div_ceil(32) * 4 * HEIGHT as usize]
}

/// A table of so many bytes for each colour.
fn palette(depth: u16, bytes: usize) -> Vec<u8> {
    if depth <= 8 { vec![0; bytes << depth] } else { Vec::new() }
}

/// Each row one run of black, and its end; the bitmap's end last.
fn runs() -> Vec<u8> {
    [[WIDTH as u8, 0, 0, 0].repeat(HEIGHT as usize), vec![0, 1]].concat()
}

pub fn odds() -> Vec<Odd> {
    let (width, height) = (WIDTH as i32, HEIGHT as i32);
    let none = [0; 4];
    let mut odds = Vec::new();
    for depth in [1, 4, 8, 24] {
        let header = core_header(WIDTH as u16, HEIGHT as u16, depth);
        let bytes = file(&none, &header, &palette(depth, 3), &rows(depth));
        odds.push(odd(Bmp, format!("bmp of OS/2, {depth} bits"), bytes));
    }
    for length in [40, 52, 56, 108, 124] {
        for (depth, compression) in
            [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (24, 0), (32, 0), (16, 3), (32, 3)]
        {
            for (name, height) in [("bottom-up", height), ("top-down", -height)] {
                let header = info_header(length, width, height, depth, compression);
                // Behind the first one, masks are no part of it; `image` looks for some behind the last two.
                let is_apart = compression == 3 && [40, 108, 124].contains(&length);
                let table = if is_apart { masks(depth) } else { palette(depth, 4) };
                let bytes = file(&none, &header, &table, &rows(depth));
                let name =
                    format!("bmp, header of {length}, {depth} bits, compression {compression}, {name}");
                odds.push(odd(Bmp, name, bytes));
            }
        }
        for (depth, compression) in [(8, 1), (4, 2)] {
            let header = info_header(length, width, height, depth, compression);
            let bytes = file(&none, &header, &palette(depth, 4), &runs());
            odds.push(odd(Bmp, format!("bmp, header of {length}, runs of {depth} bits"), bytes));
        }
    }
    for length in [16, 20, 24, 42, 46, 48, 64] {
        let bytes = file(&none, &info_header(length, width, height, 24, 0), &[], &rows(24));
        odds.push(unknown(Bmp, format!("bmp of OS/2 2, header of {length}"), bytes));
    }
    let reserved = file(b"made", &info_header(40, width, height, 24, 0), &[], &rows(24));
    odds.push(odd(Bmp, "bmp with its reserved bytes used", reserved));
    let mut lengthless = file(&none, &info_header(40, width, height, 24, 0), &[], &rows(24));
    lengthless[2..6].fill(0);
    odds.push(odd(Bmp, "bmp that does not say its length", lengthless));
    odds
}

pub fn bombs() -> Vec<(String, Vec<u8>)> {
    let sizes = [
        (i32::MAX, i32::MAX),
        (i32::MAX, i32::MIN),
        (65_535, 65_535),
        (65_535, -65_535),
        (50_000_001, -1),
        (-1, 1),
        (-1, -1),
    ];
    let mut bombs = vec![(
        "bmp of OS/2 with a huge size".to_owned(),
        file(&[0; 4], &core_header(u16::MAX, u16::MAX, 1), &palette(1, 3), &[0; 9]),
    )];
    for length in [16, 40, 52, 56, 64, 108, 124] {
        for (width, height) in sizes {
            let header = info_header(length, width, height, 8, 1);
            let bytes = file(&[0; 4], &header, &palette(8, 4), &[0, 1]);
            bombs.push((format!("bmp, header of {length}, of {width} × {height}"), bytes));
        }
    }
    bombs
}
