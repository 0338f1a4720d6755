//! Finding out which era the other side speaks.

use mcp_proxy_core::ProtocolVersion;
use mcp_proxy_core::json::Message;

use super::*;

/// The id of a request, and that it is the one expected.
fn id_of(line: &str, method: &Method) -> u64 {
    let Ok(Message::Request(request)) = Message::scan(line.to_owned().into()) else {
        panic!("no request: {line}");
    };
    assert_eq!(request.method, *method, "{line}");
    request.id.as_u64().unwrap()
}

/// Makes the handshake of the session era.
async fn shake(backend: &mut Backend) {
    let id = id_of(&backend.read().await, &Method::Initialize);
    backend
        .write(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-11-25","capabilities":{{}}}}}}"#
        ))
        .await;
    assert!(backend.read().await.contains("notifications/initialized"));
}

fn connected_with(options: DuplexOptions) -> (DuplexPeer, mpsc::Receiver<PeerEvent>, Backend) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let (reader, writer) = tokio::io::split(ours);
    let (peer, events) = DuplexPeer::lines(reader, writer, options, for_all());
    let (input, output) = tokio::io::split(theirs);
    let input = BufReader::new(input);
    (peer, events, Backend { input, output })
}

/// Opens a connection to a backend that answers the question for its era with `answer`, or not at all.
async fn check(answer: Option<&str>) {
    let options = DuplexOptions::new("test");
    let (peer, _events, mut backend) = connected_with(options.clone());
    let script = async {
        let id = id_of(&backend.read().await, &Method::Discover);
        if let Some(answer) = answer {
            backend
                .write(&format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#))
                .await;
        }
        shake(&mut backend).await;
    };
    let (hello, ()) = tokio::join!(peer.open(), script);
    assert_eq!(hello.unwrap().version, ProtocolVersion::V2025_11_25, "{answer:?}");
    // It is not asked again.
    let (peer, _events, mut backend) = connected_with(options);
    let (hello, ()) = tokio::join!(peer.open(), shake(&mut backend));
    assert!(hello.is_ok());
}

#[tokio::test(start_paused = true)]
async fn whatever_is_no_answer_of_the_new_era_leads_to_a_handshake() {
    for answer in [
        Some(r#""error":{"code":-32601,"message":"Method not found"}"#),
        Some(r#""error":{"code":-32602,"message":"Invalid request parameters"}"#),
        Some(r#""error":{"code":-32000,"message":"no"}"#),
        Some(r#""error":{"code":-32022,"message":"no","data":{"supported":["2099-01-01"]}}"#),
        Some(r#""result":{}"#),
        Some(r#""result":7,"error":7"#),
        None,
    ] {
        check(answer).await;
    }
}

/// Opens a connection to a backend that is slow to start: it finds both before it, answers the question by `says`, and
/// the handshake by `then`.
async fn slow(says: &str, then: Option<&str>) -> ProtocolVersion {
    let (peer, _events, mut backend) = connected(4096);
    let script = async {
        let question = id_of(&backend.read().await, &Method::Discover);
        let opening = id_of(&backend.read().await, &Method::Initialize);
        backend
            .write(&format!(r#"{{"jsonrpc":"2.0","id":{question},{says}}}"#))
            .await;
        if let Some(then) = then {
            backend
                .write(&format!(r#"{{"jsonrpc":"2.0","id":{opening},{then}}}"#))
                .await;
        }
    };
    let (hello, ()) = tokio::join!(peer.open(), script);
    assert_eq!(peer.dropped(), Dropped::default());
    hello.unwrap().version
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_slow_to_start_has_the_last_word() {
    let knows = r#""result":{"supportedVersions":["2026-07-28"],"capabilities":{}}"#;
    let unknown = r#""error":{"code":-32601,"message":"no"}"#;
    let welcome = r#""result":{"protocolVersion":"2025-11-25","capabilities":{}}"#;
    let refused = r#""error":{"code":-32022,"message":"this connection serves 2026-07-28"}"#;
    for (says, then, expected) in [
        (knows, Some(refused), ProtocolVersion::V2026_07_28),
        (knows, None, ProtocolVersion::V2026_07_28),
        (knows, Some(welcome), ProtocolVersion::V2025_11_25),
        (unknown, Some(welcome), ProtocolVersion::V2025_11_25),
    ] {
        assert_eq!(slow(says, then).await, expected, "{says} {then:?}");
    }
}

#[tokio::test]
async fn a_refusal_that_names_our_revision_is_asked_again_once() {
    for knows in [true, false] {
        let (peer, _events, mut backend) = connected(4096);
        let refused = r#""error":{"code":-32022,"message":"no","data":{"supported":["2026-07-28"]}}"#;
        let script = async {
            let id = id_of(&backend.read().await, &Method::Discover);
            backend
                .write(&format!(r#"{{"jsonrpc":"2.0","id":{id},{refused}}}"#))
                .await;
            let id = id_of(&backend.read().await, &Method::Discover);
            if knows {
                backend
                    .write(&format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"supportedVersions":["2026-07-28"]}}}}"#
                    ))
                    .await;
            } else {
                backend
                    .write(&format!(r#"{{"jsonrpc":"2.0","id":{id},{refused}}}"#))
                    .await;
                shake(&mut backend).await;
            }
        };
        let (hello, ()) = tokio::join!(peer.open(), script);
        assert_eq!(hello.unwrap().version.is_sessionless(), knows);
    }
}

#[tokio::test]
async fn a_backend_that_ends_at_the_question_is_spared_it_next_time() {
    let options = DuplexOptions::new("test");
    let memory = options.memory.clone().unwrap();
    let (peer, _events, mut backend) = connected_with(options.clone());
    let script = async {
        id_of(&backend.read().await, &Method::Discover);
        drop(backend);
    };
    let (hello, ()) = tokio::join!(peer.open(), script);
    assert!(spares(&memory, true, &hello.unwrap_err()));
    let (peer, _events, mut backend) = connected_with(options.clone());
    // It turns out that this is no help either.
    let script = async {
        id_of(&backend.read().await, &Method::Initialize);
        drop(backend);
    };
    let (hello, ()) = tokio::join!(peer.open(), script);
    assert!(!spares(&memory, false, &hello.unwrap_err()));
    assert!(!memory.is_session_only(), "so it is asked again");
}
