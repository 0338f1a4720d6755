//! A timed load: every connection asks, checks and asks again, while a meter reads what the measured program spends.
//!
//! The clock runs between two readings in the middle of the load, never at its ends, so that neither connecting nor the
//! last stragglers are measured.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use super::check::check;
use super::request::{Ask, Request};
use super::{Connection, Endpoint, Manner, session};

/// How to load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadPlan {
    /// Connections, each with one call in flight.
    pub(crate) connections: usize,
    /// Load before the first reading.
    pub(crate) warm_up: Duration,
    /// Load between the readings.
    pub(crate) measured: Duration,
}

/// What a load saw between its two readings.
#[derive(Debug)]
pub(crate) struct Load<M> {
    /// Calls answered, all of them right.
    pub(crate) calls: u64,
    /// Time between the readings.
    pub(crate) elapsed: Duration,
    /// What the meter said at the first reading.
    pub(crate) before: M,
    /// What it said at the second.
    pub(crate) after: M,
    /// Microseconds from the first byte written to the last byte read.
    pub(crate) latency: Histogram<u32>,
}

struct Shared {
    ask: Ask,
    path: String,
    calls: Cell<u64>,
    recording: Cell<bool>,
    ended: Cell<bool>,
    latency: RefCell<Histogram<u32>>,
}

/// Loads an endpoint and reads `meter` twice.
///
/// # Errors
/// At the first wrong answer, broken connection or failed reading, and when a call takes longer than 30 seconds.
pub(crate) async fn load<M>(
    endpoint: &Endpoint,
    ask: &Ask,
    plan: LoadPlan,
    meter: impl Fn() -> anyhow::Result<M>,
) -> anyhow::Result<Load<M>> {
    let shared = Rc::new(Shared {
        ask: ask.clone(),
        path: endpoint.path.clone(),
        calls: Cell::new(0),
        recording: Cell::new(false),
        ended: Cell::new(false),
        latency: RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
    });
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut connections = JoinSet::new();
            for number in 0..plan.connections {
                let connection = timeout(LONGEST_CALL, session::open(endpoint, ask))
                    .await
                    .context("no session in time")??;
                connections.spawn_local(ask_and_check(connection, number, endpoint.manner, Rc::clone(&shared)));
            }
            undisturbed(&mut connections, plan.warm_up).await?;
            let (first, before, start) = (shared.calls.get(), meter()?, Instant::now());
            shared.recording.set(true);
            undisturbed(&mut connections, plan.measured).await?;
            let (calls, after, elapsed) = (shared.calls.get() - first, meter()?, start.elapsed());
            shared.recording.set(false);
            shared.ended.set(true);
            let ends = async {
                while let Some(end) = connections.join_next().await {
                    end??;
                }
                anyhow::Ok(())
            };
            timeout(LONGEST_CALL, ends)
                .await
                .with_context(|| format!("a call hangs: no answer in {LONGEST_CALL:?}"))??;
            anyhow::ensure!(calls > 0, "no call was answered in {elapsed:?}");
            Ok(Load {
                calls,
                elapsed,
                before,
                after,
                latency: shared.latency.replace(Histogram::new(1)?),
            })
        })
        .await
}

/// Waits, unless a connection ends, which is always for a reason.
async fn undisturbed(connections: &mut JoinSet<anyhow::Result<()>>, period: Duration) -> anyhow::Result<()> {
    tokio::select! {
        Some(end) = connections.join_next() => end?.and_then(|()| anyhow::bail!("a connection stopped by itself")),
        () = sleep(period) => Ok(()),
    }
}

async fn ask_and_check(
    mut connection: Connection,
    number: usize,
    manner: Manner,
    shared: Rc<Shared>,
) -> anyhow::Result<()> {
    let mut request = Request::new(manner);
    while !shared.ended.get() {
        request.next(&shared.ask, number);
        let start = Instant::now();
        let (head, body) = connection
            .exchange("POST", &shared.path, request.text.as_bytes())
            .await?;
        let taken = start.elapsed();
        check(&shared.ask, &request, head.status, body)?;
        shared.calls.set(shared.calls.get() + 1);
        if shared.recording.get() {
            // Longer than the histogram reaches (a minute) has failed as a hang before.
            shared
                .latency
                .borrow_mut()
                .saturating_record(u64::try_from(taken.as_micros()).unwrap_or(u64::MAX));
        }
    }
    Ok(())
}

/// Far above any honest answer on loopback; a call that takes longer is a hang.
const LONGEST_CALL: Duration = Duration::from_secs(30);
