//! One child process and the connection to it; the keeper task sees to its end, whatever becomes of everybody else.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::{Call, Error, ErrorKind, Reply};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::stderr::{self, LastWords};
use super::{Shared, command, signal};
use crate::client::duplex::{self, Behalf, DuplexOptions, DuplexPeer, Watch};
use crate::client::{Hello, Peer, PeerEvent};
use crate::supervise::COMPLAINT;

/// A running child. Dropping it stops the child; the keeper task finishes that in the background.
pub(super) struct Process {
    pub(super) peer: DuplexPeer,
    /// Empty while it runs.
    ended: watch::Receiver<Option<ExitStatus>>,
    last_words: Arc<LastWords>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Process {
    /// Starts the command on somebody's behalf; after `idle_stop` without a call it is stopped. The handshake is still to
    /// be made.
    fn start(
        shared: &Arc<Shared>,
        behalf: Behalf,
        idle_stop: Option<Duration>,
    ) -> Result<(Self, mpsc::Receiver<PeerEvent>), Error> {
        let mut child = command::start(&shared.options)?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Error::new(ErrorKind::NotSent, "the child has no pipes"));
        };
        let options = DuplexOptions {
            name: shared.name.clone(),
            idle_timeout: shared.options.idle_timeout,
            max_message_bytes: shared.options.max_message_bytes,
            ids: shared.ids.clone(),
            memory: Some(shared.memory.clone()),
        };
        let (peer, events) = DuplexPeer::lines(stdout, stdin, options, behalf);
        let last_words = Arc::new(LastWords::default());
        let (stop, (tell_end, ended)) = (CancellationToken::new(), watch::channel(None));
        let (log, mut end) = (
            stderr::log(stderr, shared.name.clone(), last_words.clone()),
            ended.clone(),
        );
        shared.tasks.spawn(async move {
            tokio::select! {
                () = log => {}
                // A child of the child may hold the pipe open for ever.
                () = async {
                    // It fails when the keeper is gone, and with it the process.
                    let _ = end.wait_for(Option::is_some).await;
                    sleep(LAST_OUTPUT).await;
                } => {}
            }
        });
        let keeper = Keeper {
            shared: shared.clone(),
            pid: child.id(),
            child,
            watch: peer.follow(),
            idle_stop,
        };
        tracing::debug!(backend = %shared.name, pid = keeper.pid, "backend process started");
        shared.tasks.spawn(keeper.run(stop.clone(), tell_end));
        let process = Self {
            peer,
            ended,
            last_words,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        };
        Ok((process, events))
    }

    /// Starts the command and opens the connection; once more when the process ended because it did not know what it was
    /// asked first.
    ///
    /// # Errors
    /// As [`start`](Self::start) and [`handshake`](Self::handshake).
    pub(super) async fn open(
        shared: &Arc<Shared>,
        behalf: Behalf,
        idle_stop: Option<Duration>,
    ) -> Result<(Self, Hello, mpsc::Receiver<PeerEvent>), Error> {
        let asked = !shared.memory.is_session_only();
        let (mut process, mut events) = Self::start(shared, behalf.clone(), idle_stop)?;
        let mut hello = process.handshake(shared).await;
        if matches!(&hello, Err(error) if duplex::spares(&shared.memory, asked, error)) {
            (process, events) = Self::start(shared, behalf, idle_stop)?;
            hello = process.handshake(shared).await;
        }
        Ok((process, hello?, events))
    }

    /// Makes the handshake.
    ///
    /// # Errors
    /// What kept the backend from answering, with the end of its process and its last words where that explains it.
    async fn handshake(&self, shared: &Shared) -> Result<Hello, Error> {
        match self.peer.open().await {
            Ok(hello) => Ok(hello),
            Err(error) if self.peer.is_open() => Err(error),
            Err(error) => Err(self.explain(error, shared).await),
        }
    }

    /// Makes a call; the process stays until it is answered.
    pub(super) async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        self.peer.call(call).await
    }

    /// Stops the process and waits for its end.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        // It fails when the keeper is gone, and with it the process.
        let _ = self.ended.clone().wait_for(Option::is_some).await;
    }

    async fn explain(&self, error: Error, shared: &Shared) -> Error {
        let mut ended = self.ended.clone();
        let Ok(Ok(status)) = timeout(EXPLAIN_AFTER, ended.wait_for(Option::is_some))
            .await
            .map(|ended| ended.map(|status| *status))
        else {
            return error;
        };
        let words = self.last_words.get(EXPLAIN_AFTER).await;
        if words.iter().any(|line| line.starts_with(COMPLAINT)) {
            let missing = words.iter().any(|line| line.contains("os error 2)"));
            let message = match missing {
                true => command::not_found(&shared.options),
                false => format!("the command `{}` could not be started", shared.options.command),
            };
            return Error::new(ErrorKind::NotSent, message).caused_by(words.join("\n"));
        }
        let status = status.map(|status| status.to_string()).unwrap_or_default();
        let message = format!("the backend's process ended before it answered ({status})");
        Error::new(error.kind(), message).caused_by(words.join("\n"))
    }
}

/// Owns the child from its start to its reaping.
struct Keeper {
    shared: Arc<Shared>,
    pid: Option<u32>,
    child: Child,
    watch: Watch,
    idle_stop: Option<Duration>,
}

impl Keeper {
    async fn run(mut self, stop: CancellationToken, tell_end: watch::Sender<Option<ExitStatus>>) {
        let status = match self.wait(&stop).await {
            Some(status) => {
                // What it wrote last is still in the pipe. A child of its own may hold the pipe open for ever.
                let _ = timeout(LAST_OUTPUT, self.watch.closed()).await;
                self.watch.fail(&Error::new(
                    ErrorKind::SentUnknown,
                    format!("the backend's process ended ({status})"),
                ));
                tracing::warn!(backend = %self.shared.name, %status, "backend process ended by itself");
                Some(status)
            }
            None => self.stop().await,
        };
        // Whatever it left behind in its group. Under a supervisor nothing is left, and its number may be another's by now.
        if let (Some(pid), None) = (self.pid, command::supervisor(&self.shared.options)) {
            signal::kill_group(pid);
        }
        tracing::debug!(backend = %self.shared.name, pid = self.pid, ?status, "backend process is gone");
        tell_end.send_replace(Some(status.unwrap_or_default()));
    }

    /// Waits until the child ends by itself, or somebody or something says that it must (`None`).
    async fn wait(&mut self, stop: &CancellationToken) -> Option<ExitStatus> {
        let silence = self.idle_stop.map(|silence| silence.min(LONGEST_SILENCE));
        let mut look_again = silence.map(|silence| Instant::now() + silence);
        loop {
            let idle = async {
                match look_again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // A status that cannot be had is as good as none: the child is not ours to wait for.
                status = self.child.wait() => return Some(status.unwrap_or_default()),
                () = stop.cancelled() => {
                    self.watch.fail(&Error::new(ErrorKind::SentUnknown, "the backend is being stopped"));
                    return None;
                }
                // The end of its output, a line without end: it is of no more use.
                () = self.watch.closed() => return self.ends_soon().await,
                () = idle => {
                    let silence = silence.unwrap_or_default();
                    // Neutral: nobody failed.
                    let reason = Error::new(ErrorKind::Cancelled, "the backend was stopped because nobody used it");
                    match self.watch.close_if_idle(silence, &reason) {
                        Ok(()) => {
                            tracing::info!(backend = %self.shared.name, "backend process stopped: nobody used it");
                            return None;
                        }
                        Err(at) => look_again = Some(at),
                    }
                }
            }
        }
    }

    /// After the end of its output a child mostly ends by itself, and its status is worth having.
    async fn ends_soon(&mut self) -> Option<ExitStatus> {
        let status = timeout(LAST_OUTPUT, self.child.wait()).await.ok()?;
        status.ok()
    }

    /// Its input is closed by now. Waits, asks, waits, kills, reaps.
    async fn stop(&mut self) -> Option<ExitStatus> {
        let grace = match command::supervisor(&self.shared.options) {
            // It does all that itself, for everything below it.
            Some(_) => crate::supervise::LONGEST_STOP + GRACE / 4,
            None => {
                if let Ok(status) = timeout(GRACE, self.child.wait()).await {
                    return status.ok();
                }
                signal::end_group(self.pid);
                GRACE
            }
        };
        if let Ok(status) = timeout(grace, self.child.wait()).await {
            return status.ok();
        }
        tracing::warn!(backend = %self.shared.name, pid = self.pid, "backend process had to be killed");
        if let Some(pid) = self.pid {
            signal::kill_group(pid);
        }
        // Where there are no groups. It fails when the child is gone.
        let _ = self.child.start_kill();
        tokio::select! {
            status = self.child.wait() => status.ok(),
            // A process in the middle of a system call that cannot be interrupted; init inherits it.
            () = sleep(GRACE) => None,
        }
    }
}

/// How long a child gets to end by itself, and again after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// How long the last output of a child that has ended may take.
const LAST_OUTPUT: Duration = Duration::from_millis(250);

/// How long the end of a child is waited for to explain a failure.
const EXPLAIN_AFTER: Duration = Duration::from_millis(500);

/// Anything longer is as good as for ever.
const LONGEST_SILENCE: Duration = Duration::from_secs(365 * 24 * 3600);
