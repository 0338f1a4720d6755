//! Calls, their answers and their ends.

use mcp_proxy_core::ProtocolVersion;
use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn the_handshake_tells_who_is_there() {
    let (peer, _events, mut backend) = connected(4096);
    let script = async {
        let Ok(Message::Request(request)) = Message::scan(backend.read().await.into()) else {
            panic!("a request");
        };
        assert_eq!((request.method, request.id.as_u64()), (Method::Initialize, Some(1)));
        backend
            .write(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s"},"instructions":"i"}}"#)
            .await;
        assert_eq!(
            backend.read().await,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
        );
    };
    let (hello, ()) = tokio::join!(handshake::handshake(&peer), script);
    let hello = hello.unwrap();
    assert_eq!(hello.version, ProtocolVersion::V2025_06_18);
    assert_eq!(hello.capabilities.as_str(), r#"{"tools":{}}"#);
    assert_eq!(hello.instructions.as_deref(), Some("i"));
}

#[tokio::test]
async fn an_unknown_revision_is_refused() {
    let (peer, _events, mut backend) = connected(4096);
    let script = async {
        backend.read().await;
        backend
            .write(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"1999-01-01"}}"#)
            .await;
    };
    let (hello, ()) = tokio::join!(handshake::handshake(&peer), script);
    assert_eq!(hello.unwrap_err().kind(), ErrorKind::ServerFault);
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order_and_progress_its_client() {
    let (peer, _events, mut backend) = connected(4096);
    let (mut one, notes) = of_session(1);
    one.params = Params::parse(r#"{"name":"a","_meta":{"progressToken":"mine"}}"#).unwrap();
    let script = async {
        assert_eq!(
            backend.read().await,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"progressToken":1}}}"#
        );
        backend.read().await;
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":0.5}}"#,
            r#"{"jsonrpc":"2.0","id":2,"result":{"n":2}}"#,
            r#"{"jsonrpc":"2.0","id":2,"result":{"n":"again"}}"#,
            r#"{"jsonrpc":"2.0","id":77,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"1","result":{"n":"not ours"}}"#,
            r#"[{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m","x":1}}]"#,
        ] {
            backend.write(text).await;
        }
        backend.settle().await;
    };
    let (one, two, ()) = tokio::join!(peer.call(one), peer.call(tool_call("{}")), script);
    let Ok(Reply::Error(error)) = one else {
        panic!("{one:?}")
    };
    assert_eq!(error.raw().as_str(), r#"{"code":-32602,"message":"m","x":1}"#);
    assert_eq!(result(two), r#"{"n":2}"#);
    assert_eq!(
        notes.told(),
        [r#"notifications/progress {"progressToken":"mine","progress":0.5}"#]
    );
    let dropped = peer.dropped();
    assert_eq!((dropped.foreign, dropped.undeliverable), (3, 1));
}

#[tokio::test]
async fn an_error_without_an_id_ends_the_only_call_and_no_other() {
    let (peer, _events, mut backend) = connected(4096);
    let unreadable = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#;
    let script = async {
        backend.read().await;
        backend.read().await;
        // Two calls wait: nobody knows which of them is meant.
        backend.write(unreadable).await;
        backend.write(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#).await;
        backend.settle().await;
        backend.write(unreadable).await;
    };
    let (one, two, ()) = tokio::join!(peer.call(tool_call("{}")), peer.call(tool_call("{}")), script);
    assert!(matches!(one, Ok(Reply::Error(error)) if error.code() == -32700));
    assert_eq!(result(two), "{}");
    assert_eq!(peer.dropped().foreign, 1);
}

#[tokio::test]
async fn log_messages_go_where_they_can_be_meant_for_one_client_only() {
    let (peer, _events, mut backend) = connected(4096);
    let log = |n: u32| format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"n":{n}}}}}"#);
    let (a, a_notes) = of_session(1);
    let (b, b_notes) = of_session(1);
    let (c, c_notes) = of_session(2);
    let mut calls = JoinSet::new();
    for call in [a, b] {
        calls.spawn(peer.call(call));
        backend.read().await;
    }
    backend.write(&log(1)).await;
    backend.settle().await;
    calls.spawn(peer.call(c));
    backend.read().await;
    backend.write(&log(2)).await;
    for id in [1, 2] {
        backend
            .write(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#))
            .await;
    }
    backend.write(&log(3)).await;
    backend.settle().await;
    let told = a_notes.told().len() + b_notes.told().len();
    assert_eq!(told, 1, "to either call of the one client");
    assert_eq!(c_notes.told(), [r#"notifications/message {"n":3}"#]);
    assert_eq!(peer.dropped().undeliverable, 1);
}

#[tokio::test]
async fn junk_is_dropped_pings_are_answered_and_other_requests_refused() {
    let (peer, _events, mut backend) = connected(4096);
    backend
        .write("Server running on stdio\r\n\r\n\u{1b}[31m{\"a\":1}\n[1,2]")
        .await;
    backend
        .write(r#"{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage","params":{}}"#)
        .await;
    assert!(
        backend
            .read()
            .await
            .starts_with(r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32600,"#)
    );
    backend.settle().await;
    assert_eq!((peer.dropped().junk, peer.dropped().refused), (4, 1));
}

#[tokio::test]
async fn a_malformed_answer_fails_its_call_at_once() {
    let (peer, _events, mut backend) = connected(4096);
    let script = async {
        backend.read().await;
        backend.write(r#"{"jsonrpc":"2.0","id":1,"result":{"a":}"#).await;
    };
    let (reply, ()) = tokio::join!(peer.call(tool_call("{}")), script);
    assert_eq!(reply.unwrap_err().kind(), ErrorKind::ServerFault);
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_and_its_late_answer_goes_nowhere() {
    let (peer, _events, mut backend) = connected(4096);
    let mut calls = JoinSet::new();
    calls.spawn(peer.call(tool_call("{}")));
    backend.read().await;
    calls.shutdown().await;
    assert_eq!(
        backend.read().await,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#
    );
    backend.write(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
    backend.settle().await;
    assert_eq!(peer.dropped().foreign, 1);
}

#[tokio::test]
async fn a_call_dropped_before_it_was_written_is_never_written() {
    // The first fills the pipe, so the second stays in the queue.
    let (peer, _events, mut backend) = connected(16);
    let mut first = JoinSet::new();
    first.spawn(peer.call(tool_call(r#"{"name":"first"}"#)));
    let mut head = [0; 16];
    backend.input.read_exact(&mut head).await.unwrap();
    let mut second = JoinSet::new();
    second.spawn(peer.call(tool_call(r#"{"name":"second"}"#)));
    while peer.inner.link.call(2).is_none() {
        tokio::task::yield_now().await;
    }
    second.shutdown().await;
    assert!(backend.read().await.contains("first"));
    backend.settle().await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_call_and_progress_extends_it() {
    let (peer, _events, mut backend) = connected(4096);
    let start = Instant::now();
    let call = tool_call(r#"{"_meta":{"progressToken":7}}"#);
    let script = async {
        backend.read().await;
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        backend
            .write(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#)
            .await;
    };
    let (reply, ()) = tokio::join!(peer.call(call), script);
    assert_eq!(reply.unwrap_err().kind(), ErrorKind::Timeout { sent: true });
    assert_eq!(start.elapsed().as_secs(), IDLE_TIMEOUT.mul_f64(1.5).as_secs());
    assert!(backend.read().await.contains("notifications/cancelled"));
}

#[tokio::test]
async fn the_end_of_the_connection_fails_every_call_with_its_class() {
    let (peer, mut events, mut backend) = connected(16);
    let mut calls = JoinSet::new();
    for id in 1..=3 {
        calls.spawn(peer.call(tool_call("{}")));
        while peer.inner.link.call(id).is_none() {
            tokio::task::yield_now().await;
        }
        if id == 1 {
            // Part of the first is in the pipe, the rest of it and the others are not.
            backend.input.fill_buf().await.unwrap();
        }
    }
    drop(backend);
    let mut kinds = Vec::new();
    while let Some(reply) = calls.join_next().await {
        kinds.push(reply.unwrap().unwrap_err().kind());
    }
    kinds.sort_by_key(|kind| *kind == ErrorKind::NotSent);
    assert_eq!(kinds, [ErrorKind::SentUnknown, ErrorKind::NotSent, ErrorKind::NotSent]);
    assert!(matches!(events.recv().await, Some(PeerEvent::Closed(_))));
    assert!(events.recv().await.is_none() && !peer.is_open());
    assert_eq!(peer.call(tool_call("{}")).await.unwrap_err().kind(), ErrorKind::NotSent);
}

#[tokio::test]
async fn a_message_without_end_is_the_end() {
    let (peer, mut events, mut backend) = connected(64 * 1024);
    let mut options = DuplexOptions::new("test");
    options.max_message_bytes = 1000;
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(ours);
    let (small, mut small_events) = DuplexPeer::lines(reader, writer, options, for_all());
    theirs.write_all(&vec![b'x'; 1002]).await.unwrap();
    let Some(PeerEvent::Closed(error)) = small_events.recv().await else {
        panic!("must close");
    };
    assert_eq!(error.to_string(), "the backend sent a message longer than 1000 bytes");
    assert!(!small.is_open());
    // And within the default limit it is not.
    backend.write(&"x".repeat(100_000)).await;
    backend.settle().await;
    assert!(peer.is_open() && events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn changed_lists_are_told_and_merged() {
    let (_peer, mut events, mut backend) = connected(4096);
    for _ in 0..20 {
        backend
            .write(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)
            .await;
    }
    backend
        .write(r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#)
        .await;
    let mut told = Vec::new();
    while let Ok(Some(PeerEvent::ListChanged(kind))) = tokio::time::timeout(Duration::from_secs(5), events.recv()).await
    {
        told.push(kind);
    }
    let count = |kind| told.iter().filter(|told| **told == kind).count();
    assert!((1..=2).contains(&count(Kind::Tool)), "{told:?}");
    assert_eq!((count(Kind::Resource), count(Kind::Template)), (1, 1));
}

#[tokio::test]
async fn large_messages_both_ways_at_once_do_not_hang() {
    let (peer, _events, backend) = connected(4096);
    let mut other = JoinSet::new();
    // It answers each call before it reads the next, as simple servers do.
    other.spawn(async move {
        let Backend { mut input, mut output } = backend;
        let mut line = String::new();
        while input.read_line(&mut line).await.unwrap() > 0 {
            let Ok(Message::Request(request)) = Message::scan(std::mem::take(&mut line).into()) else {
                continue;
            };
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"x":"{}"}}}}"#,
                request.id,
                "y".repeat(200_000)
            );
            output.write_all(text.as_bytes()).await.unwrap();
            output.write_all(b"\n").await.unwrap();
        }
    });
    let mut calls = JoinSet::new();
    let params = format!(r#"{{"x":"{}"}}"#, "x".repeat(200_000));
    for _ in 0..32 {
        calls.spawn(peer.call(tool_call(&params)));
    }
    while let Some(reply) = calls.join_next().await {
        assert_eq!(result(reply.unwrap()).len(), 200_008);
    }
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_connection_once_calls_are_answered() {
    let (peer, _events, mut backend) = connected(4096);
    let mut calls = JoinSet::new();
    calls.spawn(peer.call(tool_call("{}")));
    backend.read().await;
    drop(peer);
    backend.write(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
    assert!(calls.join_next().await.unwrap().unwrap().is_ok());
    assert_eq!(backend.read().await, "", "the end of the stream");
}

#[tokio::test]
async fn closing_ends_the_stream_and_fails_what_waits() {
    let (peer, mut events, mut backend) = connected(4096);
    let mut calls = JoinSet::new();
    calls.spawn(peer.call(tool_call("{}")));
    backend.read().await;
    peer.close().await;
    assert_eq!(
        calls.join_next().await.unwrap().unwrap().unwrap_err().kind(),
        ErrorKind::SentUnknown
    );
    assert_eq!(backend.read().await, "");
    assert!(matches!(events.recv().await, Some(PeerEvent::Closed(_))));
}
