//! Which pairs are measured, and what the contract allows each: the ratio of processor time per call to nginx.

use anyhow::Context as _;

use super::RunArguments;
use super::rows::{Pair, Row, Side, measure};
use super::subject::{Behind, Running, Workshop};
use crate::client::{Ask, Manner, read_list};

/// `tools/call` with one worker thread on a core of its own; the backend alone is measured too, to show that it does
/// not get in the way.
///
/// # Errors
/// When something does not start or a load fails.
pub(crate) async fn calls(arguments: &RunArguments, workshop: &Workshop) -> anyhow::Result<Vec<Row>> {
    let cores = &workshop.places.subject;
    let backend = workshop.backend(1, Manner::Bare).await?;
    let nginx = workshop.nginx(cores, &backend.endpoint, b"").await?;
    let proxy = match workshop.has_proxy() {
        true => Some(
            workshop
                .proxy(cores, Some(1), Behind::Http(&backend.endpoint), 1)
                .await?,
        ),
        false => None,
    };
    let side =
        |running: &Option<Running>, bytes| running.as_ref().map(|running| Side::new(running, running.call(bytes)));
    let mut pairs = vec![Pair {
        name: "the backend alone, 64 B".to_owned(),
        connections: 32,
        contract: None,
        baseline: side(&nginx, 64),
        subject: Some(Side::new(&backend, backend.call(64))),
    }];
    for (connections, bytes) in cells(arguments) {
        pairs.push(Pair {
            name: format!("call, {}", size(bytes)),
            connections,
            contract: allowed(connections, bytes, true),
            baseline: side(&nginx, bytes),
            subject: side(&proxy, bytes),
        });
    }
    let rows = measure(arguments, pairs).await?;
    stop([proxy, nginx, Some(backend)]).await;
    Ok(rows)
}

/// `tools/call` as a user would run it: the proxy's default number of worker threads, on whichever cores are free.
///
/// # Errors
/// When something does not start or a load fails.
pub(crate) async fn default_workers(arguments: &RunArguments, workshop: &Workshop) -> anyhow::Result<Vec<Row>> {
    let backend = workshop.backend(1, Manner::Bare).await?;
    let cores = workshop.places.all();
    let nginx = workshop.nginx(&cores, &backend.endpoint, b"").await?;
    let proxy = workshop.proxy(&cores, None, Behind::Http(&backend.endpoint), 1).await?;
    let pairs = cells(arguments)
        .filter(|&(connections, _)| connections > 1)
        .map(|(connections, bytes)| Pair {
            name: format!("call, {}, default workers, any core", size(bytes)),
            connections,
            contract: allowed(connections, bytes, false),
            baseline: nginx.as_ref().map(|nginx| Side::new(nginx, nginx.call(bytes))),
            subject: Some(Side::new(&proxy, proxy.call(bytes))),
        })
        .collect();
    let rows = measure(arguments, pairs).await?;
    stop([Some(proxy), nginx, Some(backend)]).await;
    Ok(rows)
}

/// `tools/call` to a backend that issues session ids, so that the proxy keeps one session upstream for each downstream.
///
/// # Errors
/// When something does not start or a load fails.
pub(crate) async fn sessions(arguments: &RunArguments, workshop: &Workshop) -> anyhow::Result<Vec<Row>> {
    let cores = &workshop.places.subject;
    let backend = workshop.backend(1, Manner::Session).await?;
    let nginx = workshop.nginx(cores, &backend.endpoint, b"").await?;
    let proxy = workshop
        .proxy(cores, Some(1), Behind::Http(&backend.endpoint), 1)
        .await?;
    let pairs = vec![Pair {
        name: "call, 64 B, backend with sessions".to_owned(),
        connections: 32,
        contract: None,
        baseline: nginx.as_ref().map(|nginx| Side::new(nginx, nginx.call(64))),
        subject: Some(Side::new(&proxy, proxy.call(64))),
    }];
    let rows = measure(arguments, pairs).await?;
    stop([Some(proxy), nginx, Some(backend)]).await;
    Ok(rows)
}

/// `tools/call` of the sessionless era: to a backend of that era, and over the bridge in both directions.
///
/// nginx carries the sessionless call unchanged, and stands beside the bridges as the same measure.
///
/// # Errors
/// When something does not start or a load fails.
pub(crate) async fn sessionless(arguments: &RunArguments, workshop: &Workshop) -> anyhow::Result<Vec<Row>> {
    let cores = &workshop.places.subject;
    let mut rows = Vec::new();
    for (era, name) in [(Manner::Sessionless, "sessionless"), (Manner::Session, "session-era")] {
        let backend = workshop.backend(1, era).await?;
        let nginx = workshop.nginx(cores, &backend.endpoint, b"").await?;
        let proxy = workshop
            .proxy(cores, Some(1), Behind::Http(&backend.endpoint), 1)
            .await?;
        let pair = |client: Manner, whose: &str, connections: usize, bytes: usize| Pair {
            name: format!("call, {}, {whose} client, {name} backend", size(bytes)),
            connections,
            contract: None,
            baseline: nginx.as_ref().map(|nginx| Side::new(nginx, nginx.call(bytes))),
            subject: Some(Side::new(&proxy, proxy.call(bytes)).spoken_to(client)),
        };
        let mut pairs = vec![
            pair(Manner::Sessionless, "sessionless", 8, 64),
            pair(Manner::Sessionless, "sessionless", 32, 64),
            pair(Manner::Sessionless, "sessionless", 32, 10_000),
            pair(Manner::Sessionless, "sessionless", 32, 200_000),
        ];
        if era == Manner::Sessionless {
            pairs.push(pair(Manner::Session, "session-era", 32, 64));
            pairs.push(pair(Manner::Session, "session-era", 32, 200_000));
        } else {
            pairs.truncate(2);
        }
        rows.extend(measure(arguments, pairs).await?);
        stop([Some(proxy), nginx, Some(backend)]).await;
    }
    Ok(rows)
}

/// `tools/list` of 1,000 tools, next to nginx serving the same bytes from a file that it keeps open.
///
/// Two ways: through nginx's memory, as any program must that puts an answer together, which is what the contract is
/// about; and by `sendfile`, where the bytes never leave the kernel, for orientation.
///
/// # Errors
/// When something does not start or a load fails.
pub(crate) async fn list(arguments: &RunArguments, workshop: &Workshop) -> anyhow::Result<Vec<Row>> {
    let cores = &workshop.places.subject;
    let backend = workshop.backend(LISTED, Manner::Bare).await?;
    let proxy = workshop
        .proxy(cores, Some(1), Behind::Http(&backend.endpoint), LISTED)
        .await?;
    let (answer, _) = read_list(&proxy.endpoint).await?;
    let nginx = workshop.nginx(cores, &backend.endpoint, &answer).await?;
    let ask = Ask::List { bytes: answer.len() };
    let mut pairs = Vec::new();
    for (path, how, contract) in [("/list", "", Some(1.2)), ("/list-by-kernel", ", to sendfile", None)] {
        for connections in [1, 8] {
            pairs.push(Pair {
                name: format!("list of {LISTED} tools, {}{how}", size(answer.len())),
                connections,
                contract,
                baseline: nginx.as_ref().map(|nginx| Side::new(nginx, ask.clone()).at(path)),
                subject: Some(Side::new(&proxy, ask.clone())),
            });
        }
    }
    let rows = measure(arguments, pairs).await?;
    stop([Some(proxy), nginx, Some(backend)]).await;
    Ok(rows)
}

/// `tools/call` to a stdio backend that never reads while it writes; nginx has no such backend, so it stands beside
/// with its HTTP one, as a measure and not as a contract.
///
/// # Errors
/// When something does not start or a load fails, and above all when a call hangs.
pub(crate) async fn stdio(arguments: &RunArguments, workshop: &Workshop) -> anyhow::Result<Vec<Row>> {
    let cores = &workshop.places.subject;
    let backend = workshop.backend(1, Manner::Bare).await?;
    let nginx = workshop.nginx(cores, &backend.endpoint, b"").await?;
    let proxy = workshop
        .proxy(cores, Some(1), Behind::Stdio, 1)
        .await
        .context("with a stdio backend")?;
    let pairs = [64, 200_000].map(|bytes| Pair {
        name: format!("call, {}, stdio backend", size(bytes)),
        connections: 32,
        contract: None,
        baseline: nginx.as_ref().map(|nginx| Side::new(nginx, nginx.call(bytes))),
        subject: Some(Side::new(&proxy, proxy.call(bytes))),
    });
    let rows = measure(arguments, pairs.into()).await?;
    stop([Some(proxy), nginx, Some(backend)]).await;
    Ok(rows)
}

async fn stop(programs: impl IntoIterator<Item = Option<Running>>) {
    for running in programs.into_iter().flatten() {
        running.program.stop().await;
    }
}

fn cells(arguments: &RunArguments) -> impl Iterator<Item = (usize, usize)> {
    let chosen = |given: &[usize], usual: &[usize]| {
        if given.is_empty() {
            usual.to_vec()
        } else {
            given.to_vec()
        }
    };
    let usual_connections: &[usize] = if arguments.quick { &[8, 32] } else { &[1, 8, 32] };
    let connections = chosen(&arguments.connections, usual_connections);
    let sizes = chosen(&arguments.bytes, &[64, 10_000, 200_000]);
    // Quick: the small size at every number of connections, the others at the last.
    let last = if arguments.quick {
        connections.last().copied()
    } else {
        None
    };
    sizes.into_iter().enumerate().flat_map(move |(number, bytes)| {
        let kept = connections.clone().into_iter();
        kept.filter(move |&count| number == 0 || last.is_none_or(|last| last == count))
            .map(move |count| (count, bytes))
    })
}

/// The contract for one cell, as a ratio to nginx.
fn allowed(connections: usize, bytes: usize, one_worker: bool) -> Option<f64> {
    match bytes {
        // With one call in flight both mostly wait and wake up, and the figure is about the kernel.
        ..1_000 if connections == 1 => None,
        ..1_000 => Some(if one_worker { 1.3 } else { 1.4 }),
        _ => Some(1.3),
    }
}

fn size(bytes: usize) -> String {
    if bytes >= 1_000 {
        format!("{} kB", bytes / 1_000)
    } else {
        format!("{bytes} B")
    }
}

const LISTED: usize = 1_000;
