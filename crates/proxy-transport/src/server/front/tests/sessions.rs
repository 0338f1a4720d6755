//! Sessions begin, idle, are evicted and end; their streams share what is said.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use mcp_proxy_core::SessionKey;
use proptest::prelude::*;

use super::super::outbox;
use super::support::*;

#[tokio::test]
async fn a_deleted_session_is_unknown_and_its_calls_are_cancelled() {
    let world = world();
    let session = world.open().await;
    let headers = [("mcp-session-id", session.as_str())];
    let mut stream = world.listen(&session).await;
    let delete = async {
        world.log.reaches(&world.log.started, 1).await;
        let answer = world.send(Method::DELETE, &headers, "").await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NO_CONTENT, ""));
    };
    let (cancelled, ()) = tokio::join!(world.call(&session, "1", "hang"), delete);
    cancelled.refused(200, -31005);
    assert_eq!(next(&mut stream).await, None);
    let unknown = world.call("0123456789abcdef0123456789abcdef", "1", "echo").await;
    let ended = world.call(&session, "1", "echo").await;
    ended.refused(404, -32005);
    assert_eq!(ended.text, unknown.text, "nobody learns that it once lived");
    world.send(Method::DELETE, &headers, "").await.refused(404, -32005);
    assert_eq!(world.log.closed.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_expires_before_it_is_swept() {
    let world = with(|options| options.session.idle = Duration::from_secs(8));
    let (idle, alive, streaming) = (world.open().await, world.open().await, world.open().await);
    let stream = world.listen(&streaming).await;
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(world.call(&alive, "1", "echo").await.status, 200);
    }
    world.call(&idle, "1", "echo").await.refused(404, -32005);
    assert_eq!(world.call(&streaming, "1", "echo").await.status, 200);
    drop(stream);
    // The sweep runs by itself.
    while world.front.session_count() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.log.closed.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_one_idle_longest_goes_first_and_the_busy_last() {
    let world = with(|options| options.session.max = 3);
    let pass = || tokio::time::advance(Duration::from_secs(1));
    let streaming = world.open().await;
    let stream = world.listen(&streaming).await;
    pass().await;
    let first = world.open().await;
    pass().await;
    let second = world.open().await;
    pass().await;
    assert_eq!(
        world.call(&first, "1", "echo").await.status,
        200,
        "now the second is older"
    );
    pass().await;
    let third = world.open().await;
    world.call(&second, "1", "echo").await.refused(404, -32005);
    pass().await;
    let fourth = world.open().await;
    world.call(&first, "1", "echo").await.refused(404, -32005);
    for session in [&streaming, &third, &fourth] {
        assert_eq!(world.call(session, "1", "echo").await.status, 200);
    }
    assert_eq!(world.front.session_count(), 3);
    // When all are busy, the bound still holds.
    let streams = [world.listen(&third).await, world.listen(&fourth).await];
    let _fifth = world.open().await;
    assert_eq!(world.front.session_count(), 3);
    world.call(&streaming, "1", "echo").await.refused(404, -32005);
    drop((stream, streams));
    assert_eq!(world.log.closed.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_broadcast_reaches_one_stream_of_each_session() {
    let world = world();
    let (one, other, none) = (world.open().await, world.open().await, world.open().await);
    let (mut older, mut newer) = (world.listen(&one).await, world.listen(&one).await);
    let mut single = world.listen(&other).await;
    world.front.broadcast(&tools_changed());
    world.front.broadcast(&tools_changed());
    let text = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";
    assert_eq!(now(&mut newer), Some(format!("id: 2-1\n{text}")));
    assert_eq!(now(&mut newer), None, "what waits is not said twice");
    assert_eq!(now(&mut older), None);
    assert_eq!(now(&mut single), Some(format!("id: 1-1\n{text}")));
    drop(newer);
    world.front.broadcast(&tools_changed());
    assert_eq!(now(&mut older), Some(format!("id: 1-1\n{text}")));
    assert_eq!(world.call(&none, "1", "echo").await.status, 200);
}

#[tokio::test]
async fn a_stream_whose_reader_is_too_slow_ends() {
    let world = world();
    let session = world.open().await;
    let mut stream = world.listen(&session).await;
    for step in 0..=outbox::MAX_MESSAGES {
        world.front.broadcast(&progress(step));
    }
    for _ in 0..outbox::MAX_MESSAGES {
        assert!(next(&mut stream).await.is_some());
    }
    assert_eq!(next(&mut stream).await, None);
    let mut again = world.listen(&session).await;
    world.front.broadcast(&tools_changed());
    assert!(next(&mut again).await.is_some());
}

#[tokio::test]
async fn the_oldest_of_too_many_streams_ends() {
    let world = world();
    let session = world.open().await;
    let mut streams = Vec::new();
    for _ in 0..9 {
        streams.push(world.listen(&session).await);
    }
    assert_eq!(next(&mut streams[0]).await, None);
    assert_eq!(now(&mut streams[1]), None);
}

#[tokio::test]
async fn a_session_can_be_terminated_by_its_key() {
    let world = world();
    let session = world.open().await;
    let key = world.front.sessions()[0].key;
    assert!(!world.front.terminate(SessionKey(u64::MAX)));
    assert!(world.front.terminate(key));
    assert!(!world.front.terminate(key));
    world.call(&session, "1", "echo").await.refused(404, -32005);
    assert_eq!(world.log.opened.load(Ordering::SeqCst), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        host in "[ -~]{0,20}",
        accept in "[ -~]{0,20}",
        session in "[ -~]{0,40}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = world();
            let live = world.open().await;
            for headers in [
                vec![("mcp-session-id", live.as_str())],
                vec![("mcp-session-id", session.as_str()), ("host", &host), ("accept", &accept)],
            ] {
                let text = String::from_utf8_lossy(&body).into_owned();
                let answer = world.post(&headers, text).await;
                prop_assert!(answer.status.as_u16() < 500);
            }
            Ok(())
        })?;
    }
}

#[test]
fn an_idle_session_is_small() {
    assert!(
        size_of::<super::super::session::Entry>() <= 320,
        "of 1 KiB, texts included"
    );
}
