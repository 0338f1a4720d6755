//! Measures pairs: the same load on nginx and on the proxy, in turns, round after round.
//!
//! The machine's speed drifts (clock, neighbours, caches), so a figure alone says little. Both of a pair are measured
//! within seconds of each other, the order changes every round, and what is reported is the median of the rounds'
//! ratios, with the smallest and the largest beside it.

use serde::Serialize;

use super::RunArguments;
use super::subject::Running;
use crate::client::load::{LoadPlan, load};
use crate::client::{Ask, Endpoint, Manner};
use crate::machine::account;

/// One side of a pair.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    endpoint: Endpoint,
    ask: Ask,
    pid: u32,
}

/// A pair to measure.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// What is asked of whom, in a few words.
    pub(crate) name: String,
    /// Connections, each with one call in flight.
    pub(crate) connections: usize,
    /// Highest ratio that the contract allows.
    pub(crate) contract: Option<f64>,
    /// nginx; the ratio is against it.
    pub(crate) baseline: Option<Side>,
    /// The proxy.
    pub(crate) subject: Option<Side>,
}

/// A measured pair.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) connections: usize,
    pub(crate) contract: Option<f64>,
    pub(crate) baseline: Vec<Figures>,
    pub(crate) subject: Vec<Figures>,
}

/// What one side did in one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) calls: u64,
    /// Processor time of the measured process per call.
    pub(crate) processor_us: f64,
    pub(crate) calls_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
}

/// A median with its extremes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Side {
    /// `ask` put to `running`, whose process is the one that counts.
    pub(crate) fn new(running: &Running, ask: Ask) -> Self {
        Self {
            endpoint: running.endpoint.clone(),
            ask,
            pid: running.pid,
        }
    }

    /// The same, spoken to in another manner.
    pub(crate) fn spoken_to(mut self, manner: Manner) -> Self {
        self.endpoint.manner = manner;
        self
    }

    /// The same at another path.
    pub(crate) fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.endpoint.path);
        self
    }
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            (values[middle - 1] + values[middle]) / 2.0
        } else {
            values[middle]
        };
        Some(Self { median, min, max })
    }
}

impl Row {
    /// Cost of the subject over cost of the baseline.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        let pairs = self.subject.iter().zip(&self.baseline);
        Spread::of(pairs.map(|(subject, baseline)| subject.processor_us / baseline.processor_us))
    }
}

/// Measures every pair once a round.
///
/// # Errors
/// At the first load that fails, with the pair's name.
pub(crate) async fn measure(arguments: &RunArguments, pairs: Vec<Pair>) -> anyhow::Result<Vec<Row>> {
    let measured = arguments.measured();
    let mut rows: Vec<Row> = pairs.iter().map(Row::empty).collect();
    let rounds = arguments.rounds();
    for round in 0..rounds {
        for (number, (pair, row)) in pairs.iter().zip(&mut rows).enumerate() {
            eprintln!(
                "round {} of {rounds}: {}, {} connections",
                round + 1,
                pair.name,
                pair.connections
            );
            let plan = LoadPlan {
                connections: pair.connections,
                warm_up: measured / 5,
                measured,
            };
            let mut turns = [
                (&pair.baseline, &mut row.baseline, "nginx"),
                (&pair.subject, &mut row.subject, "the subject"),
            ];
            if (round + number) % 2 == 1 {
                turns.reverse();
            }
            for (side, figures, whose) in turns {
                let Some(side) = side else { continue };
                let outcome = one(side, plan).await;
                let context = || format!("{}, {} connections, {whose}", pair.name, pair.connections);
                figures.push(anyhow::Context::with_context(outcome, context)?);
            }
        }
    }
    Ok(rows)
}

impl Row {
    fn empty(pair: &Pair) -> Self {
        Self {
            name: pair.name.clone(),
            connections: pair.connections,
            contract: pair.contract,
            baseline: Vec::new(),
            subject: Vec::new(),
        }
    }
}

async fn one(side: &Side, plan: LoadPlan) -> anyhow::Result<Figures> {
    let load = load(&side.endpoint, &side.ask, plan, || account::processor_time(side.pid)).await?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer calls than an f64 counts exactly")]
    let calls = load.calls as f64;
    let quantile = |share| {
        // Microseconds up to a minute fit an f64 exactly.
        f64::from(u32::try_from(load.latency.value_at_quantile(share)).unwrap_or(u32::MAX))
    };
    Ok(Figures {
        calls: load.calls,
        processor_us: load.after.saturating_sub(load.before).as_secs_f64() * 1e6 / calls,
        calls_per_second: calls / load.elapsed.as_secs_f64(),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
    })
}
