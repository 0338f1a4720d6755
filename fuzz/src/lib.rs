//! What the targets share: ways to cut a stream.
//!
//! The targets themselves are in `fuzz_targets`, one file each; CONTRIBUTING.md says how to run them. A target states
//! what must hold for all bytes, with a slow model of the parser where there is one.

/// Cuts `stream` into pieces of up to sixteen bytes, empty ones included, as `seed` decides.
pub fn pieces(stream: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = stream;
    let mut state = u32::from(seed) + 1;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // The generator of Marsaglia, "Xorshift RNGs" (2003).
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let (piece, after) = rest.split_at((state as usize % 17).min(rest.len()));
        rest = after;
        Some(piece)
    })
}
