//! The front behind real sockets: TCP, TLS and a unix socket, spoken to in plain text.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_proxy_core::json::{Notification, RawJson, Slot};
use mcp_proxy_core::{Call, Error, Reply, Session, SessionKey, SharedService};
use mcp_proxy_transport::server::front::Front;
use mcp_proxy_transport::server::listen::Listener;
use mcp_proxy_transport::server::options::{FrontOptions, ListenOptions, ServerTls};
use mcp_proxy_transport::server::{App, Welcome};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinSet;

/// Answers `echo` at once and everything else at the gate.
#[derive(Default)]
struct Fake(Arc<State>);

pub(super) struct State {
    pub(super) gate: Semaphore,
    pub(super) started: AtomicUsize,
    pub(super) finished: AtomicUsize,
    changed: Notify,
}

impl Default for State {
    fn default() -> Self {
        Self {
            gate: Semaphore::new(0),
            started: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }
}

impl State {
    fn count(&self, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) async fn reaches(&self, counter: &AtomicUsize, count: usize) {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                if counter.load(Ordering::SeqCst) >= count {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap();
    }
}

impl App for Fake {
    fn service(&self) -> SharedService {
        let state = self.0.clone();
        SharedService::new(tower::service_fn(move |call: Call| {
            let state = state.clone();
            async move {
                state.count(&state.started);
                if call.params.string(Slot::Name).as_deref() != Some("echo") {
                    state.gate.acquire().await.unwrap().forget();
                }
                state.count(&state.finished);
                Ok::<_, Error>(Reply::Result(RawJson::from_static("{\"ok\":true}")))
            }
        }))
    }

    fn tool(&self, _: &str) -> Option<Arc<mcp_proxy_core::catalogue::Item>> {
        None
    }

    fn welcome(&self, _: mcp_proxy_core::ProtocolVersion) -> Welcome {
        Welcome {
            capabilities: RawJson::from_static("{}"),
            server_info: RawJson::from_static(r#"{"name":"fake","version":"1"}"#),
            instructions: None,
        }
    }

    fn session_opened(&self, _: &Arc<Session>) {}

    fn session_closed(&self, _: SessionKey) {}

    fn notified(&self, _: &Arc<Session>, _: Notification) {}

    fn missing(&self) -> Vec<String> {
        Vec::new()
    }
}

pub(super) struct Served {
    pub(super) front: Front,
    pub(super) state: Arc<State>,
    pub(super) port: u16,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

async fn serve(options: ListenOptions) -> Served {
    serve_as(options, FrontOptions::default()).await
}

pub(super) async fn serve_as(options: ListenOptions, how: FrontOptions) -> Served {
    let app = Fake::default();
    let state = app.0.clone();
    let front = Front::new(how, Arc::new(app));
    let listener = Listener::bind(options).await.unwrap();
    let port = listener.local_addr().map_or(0, |address| address.port());
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(listener.serve(front.clone(), None, stopped));
    Served {
        front,
        state,
        port,
        stop,
        tasks,
    }
}

pub(super) fn on_tcp() -> ListenOptions {
    ListenOptions {
        address: Some(("127.0.0.1".to_owned(), 0)),
        unix: None,
        tls: None,
    }
}

impl Served {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Stops the listener, and waits until it is gone.
    pub(super) async fn stop(mut self) {
        self.stop.send(()).unwrap();
        self.tasks.join_next().await.unwrap().unwrap();
    }
}

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn initialize() -> String {
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
    post("", body)
}

fn call(session: &str, tool: &str) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#);
    post(&format!("mcp-session-id: {session}\r\n"), &body)
}

/// Sends a request and reads its answer, head and body.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    hear(stream).await
}

/// Reads one answer whose length is told.
async fn hear<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut said = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&said);
        if let Some(at) = text.find("\r\n\r\n") {
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if said.len() >= at + 4 + length {
                return text.into_owned();
            }
        }
        let mut some = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut some))
            .await
            .unwrap()
            .unwrap();
        assert!(
            read > 0,
            "the connection ended after {:?}",
            String::from_utf8_lossy(&said)
        );
        said.extend_from_slice(&some[..read]);
    }
}

/// Opens a session and makes a call on one connection.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    let welcome = ask(stream, &initialize()).await;
    assert!(welcome.starts_with("HTTP/1.1 200 OK\r\n"), "{welcome}");
    let session = welcome
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "))
        .unwrap()
        .to_owned();
    let answer = ask(stream, &call(&session, "echo")).await;
    assert!(
        answer.ends_with(r#"{"jsonrpc":"2.0","id":1,"result":{"ok":true}}"#),
        "{answer}"
    );
    session
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let served = serve(on_tcp()).await;
    let mut stream = served.connect().await;
    for _ in 0..3 {
        converse(&mut stream).await;
    }
    let gone = ask(&mut stream, "GET /elsewhere HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(gone.starts_with("HTTP/1.1 404 "), "{gone}");
    let live = ask(&mut stream, "GET /livez HTTP/1.1\r\nhost: probe.example\r\n\r\n").await;
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
    served.stop().await;
    assert_eq!(
        stream.read(&mut [0; 16]).await.unwrap(),
        0,
        "idle connections are closed"
    );
}

#[tokio::test]
async fn too_much_is_refused_before_it_is_read() {
    let served = serve(on_tcp()).await;
    let announced = initialize().replace("content-length: ", "content-length: 9000000");
    let refused = ask(&mut served.connect().await, &announced).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    // A little too much is read to its end, so that the client is still there to see the refusal.
    let mut stream = served.connect().await;
    let large = post("", &" ".repeat(4 * 1024 * 1024 + 1000));
    let refused = ask(&mut stream, &large).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    let many: String = (0..100).map(|number| format!("x-{number}: y\r\n")).collect();
    let refused = ask(&mut served.connect().await, &post(&many, "{}")).await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    served.stop().await;
}

#[tokio::test]
async fn a_call_outlives_the_connection_of_its_client() {
    let served = serve(on_tcp()).await;
    let mut stream = served.connect().await;
    let session = converse(&mut stream).await;
    stream.write_all(call(&session, "gate").as_bytes()).await.unwrap();
    served.state.reaches(&served.state.started, 2).await;
    drop(stream);
    // Whether the server has noticed by then or not, the call runs to its end.
    served.state.gate.add_permits(1);
    served.state.reaches(&served.state.finished, 2).await;
    converse(&mut served.connect().await).await;
    served.stop().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_the_answers_that_are_due() {
    let served = serve(on_tcp()).await;
    let (mut idle, mut busy) = (served.connect().await, served.connect().await);
    converse(&mut idle).await;
    let session = converse(&mut busy).await;
    busy.write_all(call(&session, "gate").as_bytes()).await.unwrap();
    served.state.reaches(&served.state.started, 3).await;
    let Served {
        front,
        state,
        port,
        stop,
        mut tasks,
    } = served;
    stop.send(()).unwrap();
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap(), 0);
    assert!(
        TcpStream::connect(("127.0.0.1", port)).await.is_err(),
        "nothing listens any more"
    );
    state.gate.add_permits(1);
    let answer = hear(&mut busy).await;
    assert!(answer.ends_with("\"result\":{\"ok\":true}}"), "{answer}");
    tasks.join_next().await.unwrap().unwrap();
    front.drain(tokio::time::Instant::now()).await;
    assert_eq!(front.session_count(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_private_and_leaves_nothing_behind() {
    use std::os::unix::fs::PermissionsExt;

    let folder = std::env::temp_dir().join(format!("mcp-front-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let options = || ListenOptions {
        address: None,
        unix: Some(path.clone()),
        tls: None,
    };
    // Left behind by somebody who was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let served = serve(options()).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    converse(&mut UnixStream::connect(&path).await.unwrap()).await;
    let taken = Listener::bind(options()).await.unwrap_err().to_string();
    assert!(taken.ends_with("somebody is listening on it"), "{taken}");
    converse(&mut UnixStream::connect(&path).await.unwrap()).await;
    served.stop().await;
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    let refused = Listener::bind(options()).await.unwrap_err().to_string();
    assert!(refused.contains("there is a file of that name"), "{refused}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn tls_serves_and_asks_for_certificates_when_told_to() {
    let folder = std::env::temp_dir().join(format!("mcp-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key_file) = (file("cert", certificate.pem()), file("key", key.serialize_pem()));
    let ca = file("ca", authority.pem());

    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = || {
        rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
    };
    let anonymous = tokio_rustls::TlsConnector::from(Arc::new(client().with_no_client_auth()));
    let own_key = rustls_pki_types::PrivateKeyDer::from_pem_file(&key_file).unwrap();
    let known = client()
        .with_client_auth_cert(vec![certificate.der().clone()], own_key)
        .unwrap();
    let known = tokio_rustls::TlsConnector::from(Arc::new(known));
    let name = || rustls_pki_types::ServerName::try_from("localhost").unwrap();

    for client_ca in [None, Some(ca)] {
        let mutual = client_ca.is_some();
        let served = serve(ListenOptions {
            tls: Some(ServerTls {
                cert: cert.clone(),
                key: key_file.clone(),
                client_ca,
            }),
            ..on_tcp()
        })
        .await;
        let mut stream = known.connect(name(), served.connect().await).await.unwrap();
        converse(&mut stream).await;
        // With TLS 1.3 a client learns of its refusal only when it reads.
        let stranger = async {
            let mut stream = anonymous.connect(name(), served.connect().await).await.ok()?;
            stream.write_all(initialize().as_bytes()).await.ok()?;
            stream.read(&mut [0; 16]).await.ok().filter(|read| *read > 0)
        };
        assert_eq!(stranger.await.is_some(), !mutual);
        // Plain text on a TLS port disturbs nobody.
        let mut plain = served.connect().await;
        plain.write_all(initialize().as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let _ = plain.read_to_end(&mut said).await;
        assert!(!said.starts_with(b"HTTP"));
        served.stop().await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
