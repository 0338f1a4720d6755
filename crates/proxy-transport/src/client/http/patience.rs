//! How long we wait for a backend that says nothing.
//!
//! The bound is on silence: anything that arrives starts it anew. Noting that costs one look at the clock; the timer
//! itself is only moved when it fires.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use mcp_proxy_core::{Error, ErrorKind};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::pool::Flow;
use super::voice::Present;

pin_project! {
    /// The wait of one exchange.
    pub(super) struct Patience {
        #[pin]
        timer: Sleep,
        limit: Duration,
        heard: Instant,
        // Where else something may come for the call.
        present: Option<Present>,
    }
}

impl Patience {
    /// Starts waiting; `limit` bounds each silence.
    pub(super) fn new(limit: Duration) -> Self {
        Self::beside(limit, None)
    }

    /// The same for a call that the session's own stream may also have something for.
    pub(super) fn beside(limit: Duration, present: Option<Present>) -> Self {
        let heard = Instant::now();
        Self {
            timer: tokio::time::sleep(limit),
            limit,
            heard,
            present,
        }
    }

    /// Waits for `work` no longer than the limit.
    ///
    /// # Errors
    /// `Timeout`.
    pub(super) async fn wait<T>(mut self: Pin<&mut Self>, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut work = pin!(work);
        let done = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.as_mut().poll_expired(cx).map(Err),
        })
        .await?;
        self.hear();
        Ok(done)
    }

    /// The next piece of a body; `None` at its end.
    ///
    /// # Errors
    /// `Timeout` outside, a broken connection inside.
    pub(super) async fn chunk(mut self: Pin<&mut Self>, flow: &mut Flow) -> Result<Option<io::Result<Bytes>>, Error> {
        let chunk = poll_fn(|cx| match flow.poll_chunk(cx) {
            Poll::Ready(chunk) => Poll::Ready(Ok(chunk)),
            Poll::Pending => self.as_mut().poll_expired(cx).map(Err),
        })
        .await?;
        self.hear();
        Ok(chunk)
    }

    /// Something has arrived, or is not the backend's to send.
    pub(super) fn hear(self: Pin<&mut Self>) {
        *self.project().heard = Instant::now();
    }

    /// Ready with the error once the limit is over. Only polled while the backend's silence counts.
    pub(super) fn poll_expired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Error> {
        let mut this = self.project();
        loop {
            if this.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(heard) = this.present.as_ref().and_then(Present::heard) {
                *this.heard = heard.max(*this.heard);
            }
            let end = *this.heard + *this.limit;
            if end <= Instant::now() {
                let error = Error::new(
                    ErrorKind::Timeout { sent: true },
                    "the backend has been silent for too long",
                );
                return Poll::Ready(error.caused_by(format!("nothing came for {:?}", this.limit)));
            }
            this.timer.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_bounded_and_news_start_it_anew() {
        let limit = Duration::from_secs(10);
        let start = Instant::now();
        let mut patience = pin!(Patience::new(limit));
        for _ in 0..3 {
            let news = tokio::time::sleep(Duration::from_secs(9));
            patience.as_mut().wait(news).await.unwrap();
        }
        let error = patience.as_mut().wait(std::future::pending::<()>()).await.unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(start.elapsed().as_secs(), 27 + 10);
    }
}
