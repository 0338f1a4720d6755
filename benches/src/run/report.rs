//! The table for people, and the same figures for programs.

use std::fmt;

use serde::Serialize;

use super::RunArguments;
use super::allocations::Allocations;
use super::memory::Weights;
use super::rows::{Figures, Row, Spread};
use super::subject::Workshop;

/// Everything measured in one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    processor: String,
    cores: usize,
    nginx: Option<String>,
    pinned: bool,
    rounds: usize,
    seconds: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) memory: Option<Weights>,
    pub(crate) allocations: Vec<Allocations>,
}

impl Report {
    /// An empty one, with what a reader must know about the machine.
    pub(crate) fn new(arguments: &RunArguments, workshop: &Workshop) -> Self {
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = information
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processor: model.map_or_else(|| "unknown".to_owned(), |(_, model)| model.to_owned()),
            cores: std::thread::available_parallelism()
                .map_or(1, usize::from)
                .max(workshop.places.all().len()),
            nginx: workshop.nginx_version().map(str::to_owned),
            pinned: !workshop.places.subject.is_empty(),
            rounds: arguments.rounds(),
            seconds: arguments.measured().as_secs_f64(),
            rows: Vec::new(),
            memory: None,
            allocations: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nginx = self.nginx.as_deref().unwrap_or("no nginx");
        let place = if self.pinned {
            "the measured program alone on its core"
        } else {
            "not pinned"
        };
        writeln!(f, "\n{} × {}, {nginx}, {place}", self.cores, self.processor)?;
        writeln!(
            f,
            "{} rounds of {} s, medians; cost is processor time of the measured process per call\n",
            self.rounds, self.seconds
        )?;
        if !self.rows.is_empty() {
            self.calls(f)?;
        }
        if let Some(memory) = &self.memory {
            memory_table(f, memory)?;
        }
        if !self.allocations.is_empty() {
            writeln!(
                f,
                "
allocations of the proxy per call"
            )?;
        }
        for Allocations { text, count, bytes } in &self.allocations {
            let verdict = verdict(Some(*count), Some(40.0), 0);
            writeln!(f, "{text:>9} B {count:>31.1} {verdict}, {bytes:.0} bytes")?;
        }
        Ok(())
    }
}

impl Report {
    fn calls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<42} {:>5}  {:>16}  {:>18}  {:>8}  {:>17}  {:>15}  {:>15}",
            "", "conns", "cost µs", "ratio (min–max)", "contract", "calls/s", "p50 µs", "p99 µs"
        )?;
        for row in &self.rows {
            let ratio = row.ratio();
            let shown = ratio.map_or_else(
                || "–".to_owned(),
                |Spread { median, min, max }| format!("{median:.2} ({min:.2}–{max:.2})"),
            );
            writeln!(
                f,
                "{:<42} {:>5}  {:>16}  {:>18}  {:>8}  {:>17}  {:>15}  {:>15}",
                row.name,
                row.connections,
                both(row, 1, |figures| figures.processor_us),
                shown,
                verdict(ratio.map(|ratio| ratio.median), row.contract, 1),
                both(row, 0, |figures| figures.calls_per_second),
                both(row, 0, |figures| figures.p50_us),
                both(row, 0, |figures| figures.p99_us),
            )?;
        }
        writeln!(f, "\nTwo figures are nginx → the subject.")
    }
}

/// Medians of both sides, as `nginx → subject`.
fn both(row: &Row, digits: usize, of: impl Fn(&Figures) -> f64) -> String {
    let median = |side: &[Figures]| {
        let spread = Spread::of(side.iter().map(&of));
        spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.digits$}", spread.median))
    };
    format!("{} → {}", median(&row.baseline), median(&row.subject))
}

fn verdict(value: Option<f64>, contract: Option<f64>, digits: usize) -> String {
    let Some(contract) = contract else {
        return "–".to_owned();
    };
    let met = value.map_or(' ', |value| if value <= contract { '✓' } else { '✗' });
    format!("≤ {contract:.digits$} {met}")
}

fn memory_table(f: &mut fmt::Formatter<'_>, memory: &Weights) -> fmt::Result {
    #[expect(clippy::cast_precision_loss, reason = "memory sizes far below 2^53")]
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let kibibytes = |bytes: f64| bytes / 1024.0;
    writeln!(f, "\nmemory of the proxy")?;
    writeln!(
        f,
        "{:<42} {:>10}",
        "resident at rest",
        mebibytes(memory.resident_at_rest)
    )?;
    writeln!(
        f,
        "{:<42} {:>10}",
        "proportional at rest",
        mebibytes(memory.proportional_at_rest)
    )?;
    writeln!(
        f,
        "{:<42} {:>10}",
        "resident after 200 kB × 32 connections",
        mebibytes(memory.resident_after_load)
    )?;
    if let Some(nginx) = memory.nginx_after_load {
        writeln!(f, "{:<42} {:>10}", "  nginx's worker after the same", mebibytes(nginx))?;
    }
    for (name, bytes, contract) in [
        ("one idle session", memory.session, 4.0),
        ("one idle session with an open stream", memory.session_with_stream, 20.0),
    ] {
        let weight = kibibytes(bytes);
        writeln!(
            f,
            "{name:<42} {weight:>6.2} KiB  {}",
            verdict(Some(weight), Some(contract), 0)
        )?;
    }
    writeln!(f, "(mean of {} sessions, private pages)", memory.sessions)
}
