//! The body of an answer: a few pieces that hyper writes with one vectored write, without putting them together first.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Up to three pieces of known length; empty ones are skipped.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pieces: [Bytes; 3],
    next: usize,
}

impl Pieces {
    /// A body that is `pieces` in order.
    pub(crate) fn new(pieces: [Bytes; 3]) -> Self {
        Self { pieces, next: 0 }
    }

    fn left(&self) -> usize {
        self.pieces[self.next..].iter().map(Bytes::len).sum()
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while let Some(piece) = self.pieces.get(self.next).cloned() {
            self.next += 1;
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left() as u64)
    }
}
