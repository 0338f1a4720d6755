//! [`Seal`]: `requestState` values of our own, which clients carry and cannot read, change, forge or use for anything else.
//!
//! ChaCha20-Poly1305 (RFC 8439) under a key that lives and dies with the process, as do the calls it is about. What a state
//! is bound to (who may use it, for which request) is authenticated, not written into it.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// What a state stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    /// A suspended call, and which of its rounds is to be answered.
    Call { number: u64, round: u32 },
    /// Nothing is kept: the request is simply to be run again.
    Again,
}

/// Seals tickets, and opens what it has sealed.
pub(super) struct Seal {
    key: LessSafeKey,
    /// Counted, so that none is used twice under this key.
    nonces: AtomicU64,
}

impl Seal {
    /// A seal with a new key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("the key has the length of the algorithm");
        Ok(Self {
            key: LessSafeKey::new(key),
            nonces: AtomicU64::new(0),
        })
    }

    /// Seals a ticket that holds until `until`, in milliseconds of a clock of the caller's.
    pub(super) fn seal(&self, ticket: Ticket, until: u64, bound: &[u8]) -> String {
        let (number, round) = match ticket {
            Ticket::Call { number, round } => (number, round),
            Ticket::Again => (0, 0),
        };
        let count = self.nonces.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - count.len()..].copy_from_slice(&count);
        let mut text = Vec::with_capacity(20);
        text.extend_from_slice(&number.to_be_bytes());
        text.extend_from_slice(&round.to_be_bytes());
        text.extend_from_slice(&until.to_be_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut text)
            .expect("a few bytes are not too many for the algorithm");
        URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat())
    }

    /// Opens a state; `None` for anything that was not sealed here, for this, or is older than `now`.
    pub(super) fn open(&self, state: &str, now: u64, bound: &[u8]) -> Option<Ticket> {
        let mut bytes = URL_SAFE_NO_PAD.decode(state).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(bound), text).ok()?;
        let (number, rest) = text.split_first_chunk()?;
        let (round, rest) = rest.split_first_chunk()?;
        let (until, _) = rest.split_first_chunk()?;
        if now > u64::from_be_bytes(*until) {
            return None;
        }
        Some(match (u64::from_be_bytes(*number), u32::from_be_bytes(*round)) {
            (0, _) => Ticket::Again,
            (number, round) => Ticket::Call { number, round },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_here_for_this_opens() {
        let (seal, other) = (Seal::new().unwrap(), Seal::new().unwrap());
        let ticket = Ticket::Call { number: 7, round: 2 };
        let state = seal.seal(ticket, 1000, b"alice");
        assert_eq!(seal.open(&state, 1000, b"alice"), Some(ticket));
        assert_eq!(
            seal.open(&seal.seal(Ticket::Again, 1, b""), 0, b""),
            Some(Ticket::Again)
        );
        assert_ne!(state, seal.seal(ticket, 1000, b"alice"));

        assert_eq!(seal.open(&state, 1001, b"alice"), None, "expired");
        assert_eq!(seal.open(&state, 1000, b"bob"), None, "another's");
        assert_eq!(other.open(&state, 1000, b"alice"), None, "another process's");
        for at in 0..state.len() {
            let mut forged = state.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            // The last letter holds bits that mean nothing, and those must be zero.
            assert_eq!(seal.open(&forged, 1000, b"alice"), None, "{at}");
        }
        for text in ["", "AAAA", "?", &state[..state.len() - 4], &format!("{state}AAAA")] {
            assert_eq!(seal.open(text, 0, b"alice"), None, "{text}");
        }
    }
}
