//! The TCP proxy, one harm after the other, in front of a server that echoes.

use std::net::SocketAddr;
use std::time::Duration;

use mcp_proxy_test::{FaultProxy, Harm, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::within;

/// Echoes everything on every connection, and closes when the client has finished writing.
async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = stream.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    (address, tasks)
}

async fn say(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut heard = vec![0; text.len()];
    within(stream.read_exact(&mut heard)).await?;
    Ok(String::from_utf8(heard).unwrap())
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

#[tokio::test]
async fn bytes_pass_slowly_or_quickly_and_all_of_them() {
    let (target, _tasks) = echo().await;
    let proxy = FaultProxy::start(target).await.unwrap();
    let mut stream = connect(&proxy).await;
    assert_eq!(say(&mut stream, "as they are").await.unwrap(), "as they are");
    proxy.set(Harm::Trickle(Duration::from_millis(1)));
    assert_eq!(say(&mut stream, "one by one").await.unwrap(), "one by one");
    proxy.set(Harm::Delay(Duration::from_millis(30)));
    let before = Instant::now();
    assert_eq!(say(&mut stream, "late").await.unwrap(), "late");
    assert!(before.elapsed() >= Duration::from_millis(60), "both directions wait");
    proxy.set(Harm::None);
    let big = "x".repeat(1 << 20);
    let (mut read, mut write) = stream.split();
    let mut heard = String::new();
    let sending = async {
        write.write_all(big.as_bytes()).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (_, read) = within(async { tokio::join!(sending, read.read_to_string(&mut heard)) }).await;
    assert_eq!((read.unwrap(), heard == big), (1 << 20, true));
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn connections_are_reset_refused_or_cut() {
    let (target, _tasks) = echo().await;
    let proxy = FaultProxy::start(target).await.unwrap();
    let mut stream = connect(&proxy).await;
    say(&mut stream, "alive").await.unwrap();
    proxy.set(Harm::Reset);
    let error = within(stream.read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    proxy.set(Harm::Refuse);
    let mut stream = connect(&proxy).await;
    assert_eq!(within(stream.read(&mut [0])).await.unwrap_or(0), 0);

    proxy.set(Harm::CutAfter(4));
    let mut stream = connect(&proxy).await;
    stream.write_all(b"too long").await.unwrap();
    let mut heard = Vec::new();
    let _ = within(stream.read_to_end(&mut heard)).await;
    assert_eq!(heard, b"too ");
}

#[tokio::test]
async fn a_half_closed_or_silent_connection_stays_open() {
    let (target, _tasks) = echo().await;
    let proxy = FaultProxy::start(target).await.unwrap();
    let mut stream = connect(&proxy).await;
    say(&mut stream, "alive").await.unwrap();
    proxy.set(Harm::BlackHole);
    stream.write_all(b"lost?").await.unwrap();
    let silence = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut [0])).await;
    assert!(silence.is_err(), "nothing comes through a black hole");
    proxy.set(Harm::None);
    let mut heard = [0; 5];
    within(stream.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"lost?", "what was held back arrives afterwards");
    proxy.set(Harm::HalfClose);
    assert_eq!(within(stream.read(&mut [0])).await.unwrap(), 0);
    stream.write_all(b"still heard").await.unwrap();
}

#[test]
fn a_free_port_can_be_bound() {
    let port = free_port().unwrap();
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
}
