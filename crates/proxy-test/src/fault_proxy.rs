//! A TCP proxy that harms what passes through it: put it between a client and a server to see how both cope with a bad
//! network. The harm can be changed while connections are open.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Harm {
    /// They pass.
    #[default]
    None,
    /// Each piece waits that long before it goes on, in both directions.
    Delay(Duration),
    /// Those towards the client go on one at a time, with that pause between them.
    Trickle(Duration),
    /// Open and new connections are reset (RST).
    Reset,
    /// New connections are refused by closing them at once; open ones live on.
    Refuse,
    /// The client is told that the server has finished writing; what the client writes still passes.
    HalfClose,
    /// Connections are accepted, and nothing passes any more in either direction.
    BlackHole,
    /// Connections are closed once that many bytes have gone to the client, counted per connection.
    CutAfter(u64),
}

/// A TCP proxy on a free port of 127.0.0.1. Dropping it closes everything.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    harm: watch::Sender<Harm>,
    accepted: Arc<AtomicU64>,
    /// Owns the accept loop, which owns the connections.
    _server: JoinSet<()>,
}

impl FaultProxy {
    /// Starts a harmless proxy in front of `target`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let harm = watch::Sender::new(Harm::None);
        let accepted = Arc::new(AtomicU64::new(0));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, target, harm.clone(), Arc::clone(&accepted)));
        Ok(Self {
            address,
            harm,
            accepted,
            _server: server,
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens from now on, on open connections too.
    pub fn set(&self, harm: Harm) {
        self.harm.send_replace(harm);
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, harm: watch::Sender<Harm>, accepted: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            client = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                let Ok((client, _)) = client else {
                    // Out of file descriptors, most likely: give others time to close theirs.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                accepted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection(client, target, harm.subscribe()));
            }
        }
    }
}

async fn connection(client: TcpStream, target: SocketAddr, mut harm: watch::Receiver<Harm>) {
    let first = *harm.borrow_and_update();
    match first {
        Harm::Refuse => return,
        Harm::Reset => return reset(client),
        _ => {}
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut up = Pump {
        from: from_client,
        to: to_server,
        harm: harm.clone(),
        to_client: false,
        passed: 0,
    };
    let mut down = Pump {
        from: from_server,
        to: to_client,
        harm: harm.clone(),
        to_client: true,
        passed: 0,
    };
    let end = {
        let (up, down) = (up.run(), down.run());
        // Pinned, so that the end of one direction does not drop bytes that the other is moving.
        tokio::pin!(up, down);
        let (mut up_done, mut down_done) = (false, false);
        loop {
            let end = tokio::select! {
                end = &mut up, if !up_done => {
                    up_done = true;
                    end
                }
                end = &mut down, if !down_done => {
                    down_done = true;
                    end
                }
            };
            if !matches!(end, End::Finished) || (up_done && down_done) {
                break end;
            }
        }
    };
    if matches!(end, End::Reset)
        && let Ok(client) = up.from.reunite(down.to)
    {
        reset(client);
    }
}

/// One direction of a connection.
struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    harm: watch::Receiver<Harm>,
    to_client: bool,
    passed: u64,
}

/// How a direction, or a whole connection, ended.
enum End {
    /// The writer on that side has finished, and the other side has been told.
    Finished,
    /// The connection is broken or has been cut.
    Closed,
    Reset,
}

impl Pump {
    /// Moves bytes until there are no more.
    async fn run(&mut self) -> End {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let harm = *self.harm.borrow_and_update();
            match harm {
                Harm::Reset => return End::Reset,
                Harm::HalfClose if self.to_client => {
                    let _ = self.to.shutdown().await;
                    return End::Finished;
                }
                Harm::BlackHole => {
                    if self.harm.changed().await.is_err() {
                        return End::Closed;
                    }
                    continue;
                }
                _ => {}
            }
            let read = tokio::select! {
                // The harm comes first: bytes that have arrived meanwhile suffer it too.
                biased;
                changed = self.harm.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return End::Closed,
                },
                read = self.from.read(&mut buffer) => read,
            };
            let Ok(length) = read else { return End::Closed };
            if length == 0 {
                let _ = self.to.shutdown().await;
                return End::Finished;
            }
            if let Err(end) = self.pass(&buffer[..length], harm).await {
                return end;
            }
        }
    }

    async fn pass(&mut self, bytes: &[u8], harm: Harm) -> Result<(), End> {
        let mut bytes = bytes;
        match harm {
            Harm::Delay(time) => tokio::time::sleep(time).await,
            Harm::Trickle(pause) if self.to_client => {
                while let Some((first, rest)) = bytes.split_first() {
                    self.to.write_all(&[*first]).await.map_err(|_| End::Closed)?;
                    self.passed += 1;
                    bytes = rest;
                    if *self.harm.borrow() != harm {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
            Harm::CutAfter(limit) if self.to_client => {
                let left = usize::try_from(limit.saturating_sub(self.passed)).unwrap_or(usize::MAX);
                if left <= bytes.len() {
                    let _ = self.to.write_all(&bytes[..left]).await;
                    return Err(End::Closed);
                }
            }
            _ => {}
        }
        self.to.write_all(bytes).await.map_err(|_| End::Closed)?;
        self.passed += bytes.len() as u64;
        Ok(())
    }
}

/// Closes a connection the rude way: unread data is thrown away and the peer sees a reset.
fn reset(client: TcpStream) {
    let _ = client.set_zero_linger();
}

const MOST_CONNECTIONS: usize = 10_000;
