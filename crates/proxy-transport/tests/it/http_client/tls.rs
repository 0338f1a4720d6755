//! `https`: whom we trust, who we are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mcp_proxy_core::ErrorKind;
use mcp_proxy_transport::client::Connector;
use mcp_proxy_transport::client::http::HttpConnector;
use mcp_proxy_transport::client::options::{HttpOptions, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::script::{Script, result};
use super::{call, run, soon};

/// An authority with a certificate for the server and one for us, as files.
struct Authority {
    folder: tempfile::TempDir,
    server: Arc<ServerConfig>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let sign = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (server, server_key) = sign("localhost");
        let (client, client_key) = sign("mcp-proxy");
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("ca.pem", issuer.pem()),
            ("client.pem", client.pem()),
            ("client.key", client_key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .unwrap();
        let key = PrivatePkcs8KeyDer::from(server_key.serialize_der());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![server.der().clone()], key.into())
            .unwrap();
        Self {
            folder,
            server: Arc::new(server),
        }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(name))
    }

    /// Listens with TLS in front of the address `inside`; gives the port.
    async fn guard(&self, inside: SocketAddr, tasks: &mut JoinSet<()>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(self.server.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    if let Ok(mut outer) = acceptor.accept(socket).await {
                        let mut inner = TcpStream::connect(inside).await.unwrap();
                        let _ = copy_bidirectional(&mut outer, &mut inner).await;
                    }
                });
            }
        });
        port
    }
}

#[tokio::test]
async fn certificates_are_checked_and_shown() {
    let authority = Authority::new();
    let script = Script::calls(None, result).await;
    let mut tasks = JoinSet::new();
    let port = authority.guard(script.address(), &mut tasks).await;
    let options = |host: &str, tls: TlsOptions| {
        let mut options = HttpOptions::new(format!("https://{host}:{port}/mcp").parse().unwrap());
        options.tls = tls;
        options
    };
    let full = TlsOptions {
        ca: authority.file("ca.pem"),
        cert: authority.file("client.pem"),
        key: authority.file("client.key"),
    };

    let (_connector, connected) = super::connect(options("localhost", full.clone())).await;
    run(&connected, call()).await.unwrap();

    let refused = [
        ("127.0.0.1", full.clone(), "a certificate for another name"),
        (
            "localhost",
            TlsOptions {
                ca: None,
                ..full.clone()
            },
            "an unknown authority",
        ),
        (
            "localhost",
            TlsOptions {
                key: None,
                ..full.clone()
            },
            "half an identity",
        ),
        (
            "localhost",
            TlsOptions {
                ca: authority.file("client.key"),
                ..full
            },
            "a file without certificates",
        ),
    ];
    for (host, tls, what) in refused {
        let connector = HttpConnector::new(options(host, tls));
        let Err(error) = soon(connector.connect(<dyn mcp_proxy_core::Downstream>::nobody())).await else {
            panic!("connected in spite of {what}")
        };
        assert_eq!(error.kind(), ErrorKind::NotSent, "{what}: {error}");
    }
    let anonymous = TlsOptions {
        ca: authority.file("ca.pem"),
        ..TlsOptions::default()
    };
    // TLS 1.3 lets a client speak before its missing certificate is refused.
    let connector = HttpConnector::new(options("localhost", anonymous));
    assert!(
        soon(connector.connect(<dyn mcp_proxy_core::Downstream>::nobody()))
            .await
            .is_err()
    );
}

/// Both transports that begin as HTTP take the same way, so one of them shows it.
#[cfg(feature = "websocket")]
#[tokio::test]
async fn a_websocket_is_opened_over_tls() {
    use std::pin::Pin;

    use futures_core::Stream;
    use futures_sink::Sink;
    use mcp_proxy_transport::client::websocket::WebSocketConnector;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

    let authority = Authority::new();
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut tasks = JoinSet::new();
    let port = authority.guard(inside.local_addr().unwrap(), &mut tasks).await;
    tasks.spawn(async move {
        let (stream, _) = inside.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the signature is the library's")]
        let agree = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let subprotocol = http::HeaderValue::from_static("mcp");
            response.headers_mut().insert("sec-websocket-protocol", subprotocol);
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, agree).await.unwrap();
        while let Some(Ok(message)) = std::future::poll_fn(|cx| Pin::new(&mut socket).poll_next(cx)).await {
            let Ok(message) = serde_json::from_slice::<serde_json::Value>(&message.into_data()) else {
                continue;
            };
            // The same to every request; to the question for the other era it is no answer.
            if let Some(id) = message.get("id") {
                let result = r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#;
                let welcome = Message::text(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
                Pin::new(&mut socket).start_send(welcome).unwrap();
                std::future::poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx))
                    .await
                    .unwrap();
            }
        }
    });
    let mut options = HttpOptions::new(format!("wss://localhost:{port}/mcp").parse().unwrap());
    let stranger = WebSocketConnector::new("test", options.clone());
    let Err(error) = soon(stranger.connect(<dyn mcp_proxy_core::Downstream>::nobody())).await else {
        panic!("connected in spite of an unknown authority")
    };
    assert_eq!(error.kind(), ErrorKind::NotSent, "{error}");
    options.tls = TlsOptions {
        ca: authority.file("ca.pem"),
        cert: authority.file("client.pem"),
        key: authority.file("client.key"),
    };
    let connected = soon(WebSocketConnector::new("test", options).connect(<dyn mcp_proxy_core::Downstream>::nobody()))
        .await
        .unwrap();
    assert_eq!(connected.hello.version.as_str(), "2025-11-25");
    soon(connected.peer.close()).await;
}
