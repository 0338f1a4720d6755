//! What the tests stand on: the proxy, the peers, and plain clients of our own to look at the wire with.

mod driver;
mod fixture;
mod http;
mod peers;
mod processes;
mod proxy;
mod same;
mod session;
mod speaker;
mod stdio;

pub(crate) use driver::{Client, Step, drive, drive_with};
pub(crate) use fixture::{HttpServer, fixture_command};
pub(crate) use http::{Answer, Arriving, Http};
pub(crate) use peers::{Part, Peers};
pub(crate) use processes::{command_line, kill, with_mark};
pub(crate) use proxy::{Config, ProxyUnderTest, binary};
pub(crate) use same::{Fidelity, difference};
pub(crate) use session::{Session, SessionError};
pub(crate) use speaker::{Era, Speaker};
pub(crate) use stdio::StdioServer;

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// Tells "at once" from "after one of the proxy's own limits": below all of them (10 s for a lost client, 15 s for a handshake, 30 s
/// for a drain, 300 s of silence), and far above what a busy machine needs. It judges that nothing was waited for, not how fast it is.
pub(crate) const NO_LIMIT_WAITED_FOR: Duration = Duration::from_secs(8);

/// Asks again and again until `probe` has an answer, at most for `limit`; `what` completes the sentence of the failure.
pub(crate) async fn eventually<T, F>(what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        // The pause between two looks at a condition; what ends the wait is the condition.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
