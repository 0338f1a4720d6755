//! `run`: starts everything, measures section by section, prints the table.
//!
//! `subject.rs` starts what is measured, `rows.rs` measures pairs in interleaved rounds, `sections.rs` says which pairs
//! and what each may cost, `memory.rs` weighs sessions, `report.rs` prints.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::machine::launch::raise_file_limit;
use crate::machine::place::{Pinning, Places, pin};
use report::Report;
use subject::Workshop;

mod allocations;
mod memory;
mod report;
mod rows;
mod sections;
mod subject;

/// What to measure and how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArguments {
    /// Fewer rows, shorter rounds: an answer within 40 seconds, to steer by and not to quote.
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures every row once.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that one row is measured for in one round.
    #[arg(long)]
    seconds: Option<f64>,
    /// Measure only these sections.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// Connections of the call rows (default: 1, 8, 32).
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// Text lengths of the call rows, in bytes (default: 64, 10000, 200000).
    #[arg(long, value_delimiter = ',')]
    bytes: Vec<usize>,
    /// Sessions opened to weigh one.
    #[arg(long, default_value_t = 5_000)]
    sessions: usize,
    /// Keep what is measured on a core of its own.
    #[arg(long, value_enum, default_value = "auto")]
    pin: Pinning,
    /// The proxy to measure (default: `mcp-proxy` beside this program).
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
    /// The nginx to compare with.
    #[arg(long, value_name = "FILE", default_value = "nginx")]
    nginx: PathBuf,
    /// Write the figures of every round here as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// `tools/call` with one worker thread, pinned.
    Calls,
    /// `tools/call` with the default number of worker threads, on all cores.
    Default,
    /// `tools/call` to a backend that issues session ids.
    Sessions,
    /// `tools/call` of the sessionless era.
    Sessionless,
    /// `tools/list` of 1,000 tools.
    List,
    /// `tools/call` to a stdio backend.
    Stdio,
    /// Memory at rest, and of one idle session.
    Memory,
    /// Allocations per call.
    Allocations,
}

impl RunArguments {
    fn wants(&self, section: Section) -> bool {
        match self.only.as_slice() {
            [] => !(self.quick && matches!(section, Section::Default | Section::Sessions | Section::Sessionless)),
            only => only.contains(&section),
        }
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 }).clamp(1, 1_000)
    }

    fn measured(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 0.3 } else { 1.0 });
        Duration::from_secs_f64(if seconds.is_finite() {
            seconds.clamp(0.05, 600.0)
        } else {
            1.0
        })
    }
}

/// Measures and prints.
///
/// # Errors
/// When a program cannot be started, an answer is wrong, or a call hangs. A missed contract is printed, not an error.
pub(crate) fn main(arguments: &RunArguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        cfg!(target_os = "linux"),
        "the bench reads /proc, so it measures on Linux only"
    );
    raise_file_limit();
    let places = Places::new(arguments.pin)?;
    pin(&places.load)?;
    // One thread: the client must not be the one who keeps the machine busy. What ends first, the bench or a Ctrl-C,
    // drops the rest, and dropping ends every program; a kill is seen by the programs themselves (`launch`).
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = measure(arguments, places) => outcome,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}

async fn measure(arguments: &RunArguments, places: Places) -> anyhow::Result<()> {
    say_if_busy();
    let workshop = Workshop::new(arguments, places).await?;
    let mut report = Report::new(arguments, &workshop);
    for section in Section::value_variants()
        .iter()
        .copied()
        .filter(|&section| arguments.wants(section))
    {
        if section != Section::Calls && !workshop.has_proxy() {
            continue;
        }
        match section {
            Section::Calls => report.rows.extend(sections::calls(arguments, &workshop).await?),
            Section::Default => report
                .rows
                .extend(sections::default_workers(arguments, &workshop).await?),
            Section::Sessions => report.rows.extend(sections::sessions(arguments, &workshop).await?),
            Section::Sessionless => report.rows.extend(sections::sessionless(arguments, &workshop).await?),
            Section::List => report.rows.extend(sections::list(arguments, &workshop).await?),
            Section::Stdio => report.rows.extend(sections::stdio(arguments, &workshop).await?),
            Section::Allocations => report.allocations = allocations::count(arguments, &workshop).await?,
            Section::Memory => report.memory = Some(memory::weigh(arguments, &workshop).await?),
        }
    }
    print!("{report}");
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Other work on the machine makes figures worthless, ratios included once it takes the measured core.
fn say_if_busy() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    if let Some(load) = load
        .split(' ')
        .next()
        .and_then(|load| load.parse::<f64>().ok())
        .filter(|load| *load > 0.5)
    {
        eprintln!("the machine is busy (load {load}): do not quote what follows");
    }
}
