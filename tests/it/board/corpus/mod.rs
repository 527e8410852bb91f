//! Pictures that are odd but valid, and bombs: small files that claim billions of pixels. All are made here.

mod bmp;
mod gif;
mod jpeg;
mod png;

use hyperdesk::board::head::PictureType;

/// The size of nearly all of them. Width and height differ, so that one is not taken for the other.
pub const WIDTH: u32 = 24;
pub const HEIGHT: u32 = 16;

/// A picture that is to be taken.
pub struct Odd {
    /// What is odd about it.
    pub name: String,
    pub picture_type: PictureType,
    pub bytes: Vec<u8>,
    /// Whether the `image` crate unpacks it. It does not know all that is valid.
    pub is_decoded: bool,
}

fn odd(picture_type: PictureType, name: impl Into<String>, bytes: Vec<u8>) -> Odd {
    Odd { name: name.into(), picture_type, bytes, is_decoded: true }
}

/// One that the `image` crate does not know.
fn unknown(picture_type: PictureType, name: impl Into<String>, bytes: Vec<u8>) -> Odd {
    Odd { is_decoded: false, ..odd(picture_type, name, bytes) }
}

/// All that are to be taken.
pub fn odds() -> Vec<Odd> {
    [png::odds(), gif::odds(), jpeg::odds(), bmp::odds()].into_iter().flatten().collect()
}

/// All that are to be refused for their size.
pub fn bombs() -> Vec<(String, Vec<u8>)> {
    [png::bombs(), gif::bombs(), jpeg::bombs(), bmp::bombs()].into_iter().flatten().collect()
}
