//! Reading a request body: whole, bounded in size and in patience.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::Body;
use mcp_proxy_core::codes;
use tokio::time::{Instant, Sleep};

use super::respond::Refusal;

/// Longest wait for the next [`PACE`] bytes of a body, so that nobody can take for ever by sending one at a time.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const PACE: usize = 16 * 1024;
/// By how much a body may be too large and is still read and thrown away, in bytes and in time. A server that stops reading
/// while the client still writes resets the connection, and the client never sees why.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes reserved on the strength of a `Content-Length` alone.
const TRUSTED: usize = 1024 * 1024;

/// Collects a body of at most `limit` bytes. One that came in one piece is not copied.
pub(super) async fn collect<B>(body: B, headers: &HeaderMap, limit: usize) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        if announced - limit <= LINGER_BYTES && !headers.contains_key(header::EXPECT) {
            linger(body.as_mut(), announced).await;
        }
        return Err(too_large(limit));
    }
    let mut patience = Patience::default();
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| patience.poll_frame(body.as_mut(), cx)).await? {
        if whole.len() + pieces.len() + frame.len() > limit {
            linger(body.as_mut(), LINGER_BYTES).await;
            return Err(too_large(limit));
        }
        if whole.is_empty() && pieces.is_empty() {
            whole = frame;
        } else {
            if pieces.is_empty() {
                pieces.reserve(announced.min(TRUSTED).max(whole.len() + frame.len()));
                pieces.extend_from_slice(&std::mem::take(&mut whole));
            }
            pieces.extend_from_slice(&frame);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
}

/// Reads `left` bytes at most, and forgets them.
async fn linger<B: Body<Data = Bytes>>(mut body: Pin<&mut B>, mut left: usize) {
    let discard = async {
        while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(read) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    // Whether it was read to its end or not, the refusal is the same.
    let _ = tokio::time::timeout(LINGER, discard).await;
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        codes::INVALID_REQUEST,
        format!("the request body is larger than {limit} bytes"),
    )
}

/// Waits for frames, but not for ever.
///
/// The timer starts at the second look in vain: hyper hands over a body that has already arrived at the second look,
/// and such a call should not pay for a timer.
#[derive(Default)]
struct Patience {
    looked: bool,
    /// Bytes since the timer was set.
    fresh: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn poll_frame<B: Body<Data = Bytes>>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Refusal>> {
        loop {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing to us.
                    let Ok(data) = frame.into_data() else { continue };
                    self.fresh += data.len();
                    if self.fresh >= PACE
                        && let Some(sleep) = &mut self.sleep
                    {
                        self.fresh = 0;
                        sleep.as_mut().reset(Instant::now() + PATIENCE);
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Err(Refusal::new(
                        StatusCode::BAD_REQUEST,
                        codes::INVALID_REQUEST,
                        "the request body broke off",
                    )));
                }
                Poll::Pending if !self.looked => {
                    self.looked = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => {
                    let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
                    return sleep.as_mut().poll(cx).map(|()| {
                        Err(Refusal::new(
                            StatusCode::REQUEST_TIMEOUT,
                            codes::INVALID_REQUEST,
                            "the request body did not arrive in time",
                        ))
                    });
                }
            }
        }
    }
}
