//! Bodies in pieces, too large, too slow, broken off.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::super::intake::{PATIENCE, collect};

/// Gives its pieces one by one, then ends, fails or falls silent.
struct Pieces(VecDeque<&'static [u8]>, End);

enum End {
    Whole,
    Broken,
    Silent,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match (self.0.pop_front(), &self.1) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece))))),
            (None, End::Whole) => Poll::Ready(None),
            (None, End::Broken) => Poll::Ready(Some(Err("broken"))),
            (None, End::Silent) => Poll::Pending,
        }
    }
}

async fn check(pieces: &[&'static [u8]], end: End, limit: usize) -> Result<Bytes, StatusCode> {
    let body = Pieces(pieces.iter().copied().collect(), end);
    let collected = collect(body, &HeaderMap::new(), limit).await;
    collected.map_err(|refusal| refusal.status)
}

#[tokio::test(start_paused = true)]
async fn a_body_is_collected_whole_or_refused() {
    assert_eq!(check(&[], End::Whole, 5).await.unwrap(), "");
    assert_eq!(check(&[b"ab", b"", b"c", b"de"], End::Whole, 5).await.unwrap(), "abcde");
    let one: &'static [u8] = b"abcde";
    let whole = check(&[one], End::Whole, 5).await.unwrap();
    assert_eq!(whole.as_ptr(), one.as_ptr(), "one piece is not copied");
    let too_large = check(&[b"abc", b"def"], End::Whole, 5).await;
    assert_eq!(too_large, Err(StatusCode::PAYLOAD_TOO_LARGE));
    assert_eq!(check(&[b"abc"], End::Broken, 5).await, Err(StatusCode::BAD_REQUEST));
    let began = Instant::now();
    let silent = check(&[b"abc"], End::Silent, 5).await;
    assert_eq!((silent, began.elapsed()), (Err(StatusCode::REQUEST_TIMEOUT), PATIENCE));
    let began = Instant::now();
    let endless = check(&[b"abcdef"], End::Silent, 5).await;
    assert_eq!(
        (endless, began.elapsed().as_secs()),
        (Err(StatusCode::PAYLOAD_TOO_LARGE), 2)
    );
}
