//! Small values of an event loop, written one after the other into blocks: no allocation for each.

use http::HeaderValue;

/// What one event loop writes small values into.
pub(super) struct Scratch {
    block: bytes::BytesMut,
    sequence: u64,
}

/// Size of the blocks that request ids are cut from: one allocation for thousands of them.
const SCRATCH_BYTES: usize = 32 * 1024;

/// The two hexadecimal digits of each byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

impl Scratch {
    /// `seed` makes the ids of one loop and one run differ from those of others.
    pub(super) fn new(seed: u64) -> Self {
        Self { block: bytes::BytesMut::new(), sequence: seed }
    }

    /// 16 hexadecimal digits, unlike all others.
    pub(super) fn request_id(&mut self) -> HeaderValue {
        // SplitMix64: a bijection of the counter, so no two are alike, that looks random.
        self.sequence = self.sequence.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.sequence;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        self.value(mixed.to_be_bytes().map(|byte| HEX[usize::from(byte)]).as_flattened())
    }

    /// A header's value out of the current block.
    pub(super) fn value(&mut self, text: &[u8]) -> HeaderValue {
        if self.block.capacity() < text.len() {
            // The same block again where nothing of it is in use any more.
            self.block.reserve(SCRATCH_BYTES.max(text.len()));
        }
        self.block.extend_from_slice(text);
        let bytes = self.block.split().freeze();
        HeaderValue::from_maybe_shared(bytes).unwrap_or(HeaderValue::from_static("-"))
    }
}
