//! Questions of the backend: to the right client, or to none.

use super::*;

const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#;

fn answered(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

fn accept() -> Reply {
    Reply::Result(mcp_proxy_core::json::RawJson::from_static(r#"{ "action":"accept"}"#))
}

/// A call of a client without a session.
fn sessionless() -> (Call, Arc<Notes>) {
    let (mut call, notes) = of_session(0);
    call.context.session = None;
    call.context.version = mcp_proxy_core::ProtocolVersion::LATEST_SESSIONLESS;
    (call, notes)
}

/// Starts calls in order; each has been read by the backend.
async fn running(
    peer: &DuplexPeer,
    backend: &mut Backend,
    calls: impl IntoIterator<Item = Call>,
) -> JoinSet<Result<Reply, Error>> {
    let mut running = JoinSet::new();
    for call in calls {
        running.spawn(peer.call(call));
        backend.read().await;
    }
    running
}

#[tokio::test]
async fn a_question_goes_to_the_one_client_and_its_answer_back() {
    let (peer, _events, mut backend) = connected(4096);
    let (call, client) = of_session(1);
    let _running = running(&peer, &mut backend, [call]).await;
    backend.write(ELICIT).await;
    let question = client.question().await;
    assert_eq!(question.text, r#"elicitation/create {"message":"?"}"#);
    // Meanwhile the backend is heard and answered.
    backend.settle().await;
    question.answer.send(accept()).unwrap();
    assert_eq!(
        backend.read().await,
        r#"{"jsonrpc":"2.0","id":"q","result":{ "action":"accept"}}"#
    );
    backend.write(ELICIT).await;
    client.question().await.answer.send(Reply::error(-1, "no")).unwrap();
    assert_eq!(
        backend.read().await,
        r#"{"jsonrpc":"2.0","id":"q","error":{"code":-1,"message":"no"}}"#
    );
    assert_eq!(peer.dropped(), Dropped::default());
}

#[tokio::test]
async fn a_question_that_may_be_another_clients_is_refused() {
    for (first, second) in [
        (of_session(1), of_session(2)),
        (of_session(1), sessionless()),
        (sessionless(), sessionless()),
    ] {
        let (peer, _events, mut backend) = connected(4096);
        let _running = running(&peer, &mut backend, [first.0, second.0]).await;
        backend.write(ELICIT).await;
        let refused = backend.read().await;
        assert!(
            refused.starts_with(r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32600,"#),
            "{refused}"
        );
        backend.write(&answered(1)).await;
        backend.settle().await;
        backend.write(ELICIT).await;
        second.1.question().await.answer.send(accept()).unwrap();
        assert!(backend.read().await.contains("accept"), "only one is left");
        assert!(first.1.is_unasked());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_call_that_was_given_up_asks_reaches_nobody() {
    let (peer, _events, mut backend) = connected(4096);
    let (gone, left) = (of_session(1), of_session(2));
    running(&peer, &mut backend, [gone.0]).await.shutdown().await;
    assert!(backend.read().await.contains("notifications/cancelled"));
    let _running = running(&peer, &mut backend, [left.0]).await;
    backend.write(ELICIT).await;
    assert!(backend.read().await.contains(r#""id":"q","error""#));
    assert!(gone.1.is_unasked() && left.1.is_unasked());
    // Answered after all: the backend is done with it.
    backend.write(&answered(1)).await;
    backend.settle().await;
    backend.write(ELICIT).await;
    left.1.question().await.answer.send(accept()).unwrap();
    assert!(backend.read().await.contains("accept"));
}

#[tokio::test]
async fn questions_of_nobody_are_answered_in_nobodys_name() {
    let (_peer, _events, mut backend) = connected(4096);
    backend.write(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#).await;
    assert_eq!(
        backend.read().await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}"#
    );
    backend.write(ELICIT).await;
    assert!(backend.read().await.contains("no call is running"));
    backend.write(r#"{"jsonrpc":"2.0","id":2,"method":"tasks/list"}"#).await;
    assert!(backend.read().await.contains("-32601"));
}

#[tokio::test]
async fn questions_end_with_the_last_call_they_can_be_about() {
    let (peer, _events, mut backend) = connected(4096);
    let (one, client) = of_session(1);
    let (two, other) = of_session(1);
    let mut calls = running(&peer, &mut backend, [one, two]).await;
    backend.write(ELICIT).await;
    let question = other.question().await;
    backend.write(&answered(2)).await;
    assert!(calls.join_next().await.unwrap().is_ok());
    backend.settle().await;
    assert!(!question.answer.is_closed(), "it may be about the other call");
    calls.shutdown().await;
    let mut said = [backend.read().await, backend.read().await];
    said.sort();
    assert!(
        said[0].starts_with(r#"{"jsonrpc":"2.0","id":"q","error":{"code":-31005,"#),
        "{said:?}"
    );
    assert!(said[1].contains("notifications/cancelled"));
    assert!(question.answer.is_closed() && client.is_unasked());
}

#[tokio::test]
async fn a_backend_takes_its_question_back() {
    let (peer, _events, mut backend) = connected(4096);
    let (call, client) = of_session(1);
    let _running = running(&peer, &mut backend, [call]).await;
    backend.write(ELICIT).await;
    let mut question = client.question().await;
    // The id of another question changes nothing, and neither does a second question under the same id.
    backend.write(ELICIT).await;
    backend
        .write(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"p"}}"#)
        .await;
    backend.settle().await;
    assert!(!question.answer.is_closed() && client.is_unasked());
    backend
        .write(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}"#)
        .await;
    question.answer.closed().await;
    backend.settle().await;
}

#[tokio::test(start_paused = true)]
async fn while_a_client_thinks_the_backend_is_not_silent() {
    let (peer, _events, mut backend) = connected(4096);
    let (call, client) = of_session(1);
    let start = Instant::now();
    let mut calls = running(&peer, &mut backend, [call]).await;
    tokio::time::advance(IDLE_TIMEOUT / 2).await;
    backend.write(ELICIT).await;
    let question = client.question().await;
    tokio::time::sleep(IDLE_TIMEOUT).await;
    question.answer.send(accept()).unwrap();
    assert!(backend.read().await.contains("accept"));
    let error = calls.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout { sent: true });
    assert_eq!(
        start.elapsed().as_secs(),
        (IDLE_TIMEOUT.mul_f64(2.5)).as_secs(),
        "its patience began when the answer went out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_is_not_waited_for_for_ever() {
    let (peer, _events, mut backend) = connected(4096);
    let (call, client) = of_session(1);
    let _running = running(&peer, &mut backend, [call]).await;
    backend.write(ELICIT).await;
    let question = client.question().await;
    assert!(backend.read().await.contains(r#""id":"q","error":{"code":-31003"#));
    assert!(question.answer.is_closed());
}

#[tokio::test]
async fn open_questions_are_bounded() {
    let (peer, _events, mut backend) = connected(1 << 20);
    let (call, client) = of_session(1);
    let _running = running(&peer, &mut backend, [call]).await;
    for id in 0..65 {
        backend
            .write(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#))
            .await;
    }
    assert!(
        backend
            .read()
            .await
            .starts_with(r#"{"jsonrpc":"2.0","id":64,"error":{"code":-31004"#)
    );
    assert_eq!(client.asked.lock().unwrap().len(), 64);
    drop(peer);
}

#[tokio::test]
async fn a_clients_own_backend_speaks_to_it_outside_calls_too() {
    let outside = Arc::new(Outside::default());
    let declared = mcp_proxy_core::Declared::new(
        mcp_proxy_core::json::RawJson::from_static(r#"{"roots":{},"tasks":{}}"#),
        None,
    );
    let behalf = Behalf::client(SessionKey(1), &declared, outside.clone());
    let (peer, _events, mut backend) = connected_for(4096, behalf);
    let opening = async {
        assert!(backend.read().await.contains(r#""capabilities":{"roots":{}}"#));
        backend
            .write(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}"#)
            .await;
        backend.read().await;
    };
    let (hello, ()) = tokio::join!(handshake::handshake(&peer), opening);
    hello.unwrap();
    backend.write(ELICIT).await;
    outside.asked.question().await.answer.send(accept()).unwrap();
    assert!(backend.read().await.contains("accept"));
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}"#;
    backend.write(log).await;
    backend.settle().await;
    let (call, client) = of_session(1);
    let _running = running(&peer, &mut backend, [call]).await;
    backend.write(log).await;
    backend.write(ELICIT).await;
    client.question().await.answer.send(accept()).unwrap();
    assert!(backend.read().await.contains("accept"));
    assert_eq!(client.told().len(), 1);
    assert_eq!(
        *outside.told.lock().unwrap(),
        [(Some(SessionKey(1)), r#"notifications/message {"data":1}"#.to_owned())]
    );
    let roots = Notification {
        method: Method::RootsChanged,
        params: Params::absent(),
    };
    peer.notify(SessionKey(2), roots.clone()).await.unwrap();
    peer.notify(SessionKey(1), roots).await.unwrap();
    assert!(backend.read().await.contains("roots/list_changed"));
    backend.settle().await;
}

#[tokio::test]
async fn a_shared_backend_is_told_and_tells_of_resources() {
    let outside = Arc::new(Outside::default());
    let (peer, _events, mut backend) = connected_for(4096, Behalf::everybody(outside.clone()));
    let check = async |backend: &mut Backend, wanted: &[&str], expected: &[&str]| {
        let uris: Arc<[Box<str>]> = wanted.iter().map(|uri| Box::from(*uri)).collect();
        let script = async {
            for expected in expected {
                let said = backend.read().await;
                assert!(said.contains(expected), "{said}");
                let id = said.split(&[':', ',']).nth(3).unwrap();
                // Refused or not, it has been told.
                backend
                    .write(&format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"no"}}}}"#
                    ))
                    .await;
            }
        };
        let (told, ()) = tokio::join!(peer.watch(uris), script);
        told.unwrap();
        backend.settle().await;
    };
    check(
        &mut backend,
        &["a:1", "b:2"],
        &[r#"resources/subscribe","params":{"uri":"a:1"}"#, "b:2"],
    )
    .await;
    check(
        &mut backend,
        &["b:2", "c:3"],
        &["c:3", r#"resources/unsubscribe","params":{"uri":"a:1"}"#],
    )
    .await;
    check(&mut backend, &["c:3", "b:2"], &[]).await;
    backend
        .write(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"b:2"}}"#)
        .await;
    backend.settle().await;
    assert_eq!(
        *outside.told.lock().unwrap(),
        [(None, r#"notifications/resources/updated {"uri":"b:2"}"#.to_owned())]
    );
}

/// Fifty clients call at once, their calls come and go, and every question that is relayed carries the name of the
/// client whose call the backend asks about.
#[tokio::test]
async fn with_fifty_clients_on_one_connection_no_question_reaches_another() {
    let (peer, _events, mut backend) = connected(1 << 20);
    let (mut calls, mut clients) = (JoinSet::new(), Vec::new());
    let (mut relayed, mut refused) = (0, 0);
    for round in 0..200_u64 {
        let key = round % 50;
        let (call, client) = of_session(key);
        calls.spawn(peer.call(call));
        backend.read().await;
        clients.push((key, client.clone()));
        let id = round + 1;
        backend
            .write(&format!(
                r#"{{"jsonrpc":"2.0","id":"{key}","method":"elicitation/create","params":{{"of":{key}}}}}"#
            ))
            .await;
        // Every third call stays for a while, so that others run beside it.
        let stays = round % 3 == 0;
        let said = async {
            loop {
                let said = backend.read().await;
                if said.contains("\"error\"") || said.contains("accept") {
                    return said;
                }
            }
        };
        let answering = async {
            loop {
                for (owner, client) in &clients {
                    let pending: Vec<Pending> = std::mem::take(&mut *client.asked.lock().unwrap());
                    for question in pending {
                        assert_eq!(question.text, format!(r#"elicitation/create {{"of":{owner}}}"#));
                        question.answer.send(accept()).unwrap();
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        let said = tokio::select! {
            said = said => said,
            () = answering => unreachable!("it goes on for ever"),
        };
        match said.contains("accept") {
            true => relayed += 1,
            false => refused += 1,
        }
        if !stays {
            backend.write(&answered(id)).await;
        } else if round % 9 == 0 {
            // All that still run end, so that the next one is alone again.
            for old in 1..=id {
                backend.write(&answered(old)).await;
            }
        }
        backend.settle().await;
    }
    assert!(relayed > 20 && refused > 20, "{relayed} {refused}");
}
