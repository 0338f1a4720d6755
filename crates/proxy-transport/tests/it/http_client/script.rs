//! A backend that answers byte by byte what a test tells it to: for everything that no honest server does.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Which connection, counted from 0.
    pub(super) connection: usize,
    /// The request line and headers.
    pub(super) head: String,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn verb(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// The JSON-RPC method; empty for answers and requests without a body.
    pub(super) fn method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn id(&self) -> u64 {
        self.json()["id"].as_u64().unwrap_or_default()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut headers = lines.filter_map(|line| line.split_once(": "));
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// What the backend does about a request, one after the other.
#[derive(Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// A part of the play, not a wait for anything.
    Pause(Duration),
    Wait(Arc<Notify>),
    /// Goes on once that many have come to this step.
    Meet(Arc<Barrier>),
    /// Sends what comes out of the channel, until it ends.
    Feed(Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>),
    /// Sends what comes out of the channel as the result of the call with this id.
    Relay(u64, Arc<Mutex<Option<oneshot::Receiver<String>>>>),
    Hang,
    Close,
}

pub(super) fn send(text: impl Into<Vec<u8>>) -> Step {
    Step::Send(text.into())
}

/// A whole HTTP response.
pub(super) fn response(status: u16, headers: &str, body: &str) -> Step {
    send(format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    ))
}

/// 200 with a JSON body.
pub(super) fn json(body: &str) -> Vec<Step> {
    vec![response(200, "content-type: application/json\r\n", body)]
}

/// The answer to a call.
pub(super) fn result(seen: &Seen) -> Vec<Step> {
    json(&format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"ok":true}}}}"#,
        seen.id()
    ))
}

/// The head of an event stream that ends with its connection.
pub(super) fn stream_head() -> Step {
    send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
}

/// One event.
pub(super) fn event(data: impl std::fmt::Display) -> Step {
    send(format!("data: {data}\n\n"))
}

type Play = dyn Fn(&Seen) -> Vec<Step> + Send + Sync;

/// The backend. Dropping it ends it.
pub(super) struct Script {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: Arc<AtomicUsize>,
    changed: watch::Receiver<usize>,
    tasks: JoinSet<()>,
}

impl Script {
    /// A backend of the session era that plays `play` for every request but `server/discover`, of which it knows nothing
    /// and which no test of that era wants to see.
    pub(super) async fn start(play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::open(false, play).await
    }

    /// A backend of any era that plays `play` for every request.
    pub(super) async fn of_any_era(play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::open(true, play).await
    }

    async fn open(sees_probes: bool, play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (sender, changed) = watch::channel(0);
        let play: Arc<Play> = Arc::new(move |seen| match seen.method().as_str() {
            "server/discover" if !sees_probes => vec![response(404, "", "")],
            _ => play(seen),
        });
        let mut tasks = JoinSet::new();
        let closed = Arc::new(AtomicUsize::new(0));
        let (seen_there, closed_there) = (seen.clone(), closed.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 0.. {
                let Ok((socket, _)) = listener.accept().await else {
                    return;
                };
                let (play, seen, sender) = (play.clone(), seen_there.clone(), sender.clone());
                let closed = closed_there.clone();
                connections.spawn(async move {
                    // A client that goes away ends the play.
                    let _ = serve(socket, connection, &*play, &seen, &sender, sees_probes).await;
                    closed.fetch_add(1, Ordering::SeqCst);
                    sender.send_modify(|changes| *changes += 1);
                });
            }
        });
        Self {
            address,
            seen,
            closed,
            changed,
            tasks,
        }
    }

    /// A backend with a proper handshake (`session` is the id it issues) and no stream of its own; `play` is for the
    /// rest.
    pub(super) async fn calls(
        session: Option<&'static str>,
        play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |seen| match (seen.verb(), seen.method().as_str()) {
            ("GET", _) => vec![response(405, "", "")],
            ("DELETE", _) => vec![response(200, "", "")],
            (_, "initialize") => welcome(seen, session),
            (_, "notifications/initialized") => vec![response(202, "", "")],
            _ => play(seen),
        })
        .await
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp?x=1", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn count(&self, wanted: impl Fn(&Seen) -> bool) -> usize {
        self.seen().iter().filter(|seen| wanted(seen)).count()
    }

    /// Waits for a request.
    pub(super) async fn wait_for(&self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let mut changed = self.changed.clone();
        loop {
            changed.borrow_and_update();
            if let Some(seen) = self.seen().into_iter().find(&wanted) {
                return seen;
            }
            changed.changed().await.unwrap();
        }
    }

    /// Waits for that many requests.
    pub(super) async fn wait_for_count(&self, wanted: impl Fn(&Seen) -> bool, count: usize) {
        let mut changed = self.changed.clone();
        loop {
            changed.borrow_and_update();
            if self.count(&wanted) >= count {
                return;
            }
            changed.changed().await.unwrap();
        }
    }

    /// How many connections have been closed.
    pub(super) fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits until that many connections have been closed.
    pub(super) async fn wait_for_closed(&self, count: usize) {
        let mut changed = self.changed.clone();
        while self.closed.load(Ordering::SeqCst) < count {
            changed.changed().await.unwrap();
        }
    }

    /// Ends it now: the port refuses, connections are closed.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// The answer to `initialize`.
pub(super) fn welcome(seen: &Seen, session: Option<&str>) -> Vec<Step> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"protocolVersion":"2025-06-18","capabilities":{{"tools":{{"listChanged":true}}}},"serverInfo":{{"name":"script","version":"1"}}}}}}"#,
        seen.id()
    );
    let session = session.map_or(String::new(), |id| format!("mcp-session-id: {id}\r\n"));
    vec![response(
        200,
        &format!("content-type: application/json\r\n{session}"),
        &body,
    )]
}

async fn serve(
    mut socket: TcpStream,
    connection: usize,
    play: &Play,
    all: &Mutex<Vec<Seen>>,
    changed: &watch::Sender<usize>,
    sees_probes: bool,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let seen = read_request(&mut socket, &mut buffer, connection).await?;
        if sees_probes || seen.method() != "server/discover" {
            all.lock().unwrap().push(seen.clone());
            changed.send_modify(|changes| *changes += 1);
        }
        for step in play(&seen) {
            match step {
                Step::Send(bytes) => socket.write_all(&bytes).await?,
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::Wait(until) => until.notified().await,
                Step::Meet(barrier) => {
                    barrier.wait().await;
                }
                Step::Feed(channel) => {
                    let mut channel = channel.lock().await;
                    loop {
                        tokio::select! {
                            text = channel.recv() => match text {
                                Some(text) => socket.write_all(text.as_bytes()).await?,
                                None => break,
                            },
                            // The client has gone away: it has nothing to say on this connection.
                            _ = socket.readable() => return Ok(()),
                        }
                    }
                }
                Step::Relay(id, channel) => {
                    let channel = channel.lock().unwrap().take().expect("played once");
                    let Ok(result) = channel.await else { return Ok(()) };
                    let text = format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n\n");
                    socket.write_all(text.as_bytes()).await?;
                }
                Step::Hang => {
                    // Until the client goes away.
                    while socket.read(&mut [0; 64]).await? > 0 {}
                    return Ok(());
                }
                Step::Close => return Ok(()),
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> io::Result<Seen> {
    let mut fill = async |buffer: &mut Vec<u8>| match socket.read_buf(buffer).await? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        _ => Ok(()),
    };
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        fill(buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut seen = Seen {
        connection,
        head,
        body: String::new(),
    };
    let length = seen.header("content-length").map_or(0, |value| value.parse().unwrap());
    while buffer.len() < end + length {
        fill(buffer).await?;
    }
    seen.body = String::from_utf8_lossy(&buffer[end..end + length]).into_owned();
    buffer.drain(..end + length);
    Ok(seen)
}
