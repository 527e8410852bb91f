//! Blocks that short texts are cut from, so that they need no allocation of their own. Pure.

use bytes::{Bytes, BytesMut};

/// Size of a block: one allocation for some hundred cursors and empty answers.
const BLOCK_BYTES: usize = 32 * 1_024;

/// The one that is being used up.
#[derive(Default)]
pub struct Block(BytesMut);

impl Block {
    /// What `write` writes, at most `bytes_max`.
    pub fn text(&mut self, bytes_max: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        if self.0.capacity() < bytes_max {
            // The same block again where nothing of it is in use any more.
            self.0.reserve(BLOCK_BYTES.max(bytes_max));
        }
        write(&mut self.0);
        self.0.split().freeze()
    }
}
