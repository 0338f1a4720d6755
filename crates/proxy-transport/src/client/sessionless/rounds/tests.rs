//! Rounds against a backend and a client that are closures.

use std::sync::{Arc, Mutex};

use mcp_proxy_core::{Asked, ClientHandle, ClientPort, Context, Declared, Interim, ProtocolVersion};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::*;

const MANNER: Manner = Manner {
    version: ProtocolVersion::V2026_07_28,
    logs: false,
};

type Answer = Result<Reply, Error>;

type Answering = dyn Fn(&Method, &Value) -> Answer + Send + Sync;

/// A client that answers what `answer` says, once all who are asked at the same time have met.
struct Client {
    answer: Box<Answering>,
    together: Arc<Barrier>,
    asked: Mutex<Vec<(Method, Value)>>,
}

impl ClientPort for Client {
    fn notify(&self, _: Interim) -> bool {
        true
    }

    fn ask(&self, method: Method, params: Params) -> Asked {
        let params = params.to_raw().map_or(Value::Null, |params| params.decode().unwrap());
        let answer = (self.answer)(&method, &params);
        self.asked.lock().unwrap().push((method, params));
        let together = self.together.clone();
        Box::pin(async move {
            together.wait().await;
            answer
        })
    }
}

fn client(together: usize, answer: impl Fn(&Method, &Value) -> Answer + Send + Sync + 'static) -> Arc<Client> {
    Arc::new(Client {
        answer: Box::new(answer),
        together: Arc::new(Barrier::new(together)),
        asked: Mutex::default(),
    })
}

fn result(value: Value) -> Answer {
    Ok(Reply::Result(RawJson::encode(&value)))
}

fn call(client: &Arc<Client>, method: Method, version: ProtocolVersion) -> Call {
    let all = RawJson::from_static(r#"{"sampling":{},"roots":{},"elicitation":{"form":{},"url":{}}}"#);
    let mut call = Call::new(method).with_params(Params::parse(r#"{"name":"x"}"#).unwrap());
    call.client = ClientHandle::new(client.clone());
    call.context = Context {
        version,
        declared: Arc::new(Declared::new(all, None)),
        ..Context::default()
    };
    call
}

/// Makes a call; `replies` are the backend's, in order. Gives the outcome and the params of each round.
async fn run(call: &Call, replies: Vec<Value>) -> (Answer, Vec<Value>) {
    let seen = Mutex::new(Vec::new());
    let mut replies = replies.into_iter();
    let outcome = converse(MANNER, call, |params| {
        let mut params: Value = params.to_raw().unwrap().decode().unwrap();
        params.as_object_mut().unwrap().remove("_meta");
        seen.lock().unwrap().push(params);
        let reply = replies.next().expect("one round too many");
        std::future::ready(result(reply))
    })
    .await;
    (outcome, seen.into_inner().unwrap())
}

fn asks(requests: Value) -> Value {
    json!({ "resultType": "input_required", "inputRequests": requests })
}

fn done() -> Value {
    json!({ "resultType": "complete", "content": [] })
}

fn text(outcome: Answer) -> String {
    match outcome.unwrap() {
        Reply::Result(result) => result.as_str().to_owned(),
        Reply::Error(error) => error.raw().as_str().to_owned(),
    }
}

#[tokio::test]
async fn questions_are_asked_together_and_answered_by_their_keys() {
    let client = client(2, |method, _| result(json!({ "to": method.as_str() })));
    let call = call(&client, Method::ToolsCall, ProtocolVersion::V2025_06_18);
    let mut first = asks(json!({
        "who": { "method": "elicitation/create", "params": { "message": "?" } },
        "where": { "method": "roots/list" },
    }));
    first["requestState"] = json!("é\u{1f600}\"");
    let (outcome, seen) = run(&call, vec![first, done()]).await;
    assert_eq!(text(outcome), r#"{"content":[]}"#);
    assert_eq!(seen[0], json!({ "name": "x" }));
    assert_eq!(
        seen[1],
        json!({
            "name": "x",
            "requestState": "é\u{1f600}\"",
            "inputResponses": { "who": { "to": "elicitation/create" }, "where": { "to": "roots/list" } },
        })
    );
}

#[tokio::test]
async fn each_round_has_its_own_answers_and_state_only() {
    let client = client(1, |_, params| result(params.clone()));
    let call = call(&client, Method::PromptsGet, ProtocolVersion::V2025_11_25);
    let round = |n: u32| asks(json!({ format!("k{n}"): { "method": "sampling/createMessage", "params": { "n": n } } }));
    let mut first = round(1);
    first["requestState"] = json!("s1");
    let (outcome, seen) = run(&call, vec![first, round(2), done()]).await;
    assert!(outcome.is_ok());
    assert_eq!(
        seen[1],
        json!({ "name": "x", "requestState": "s1", "inputResponses": { "k1": { "n": 1 } } })
    );
    assert_eq!(seen[2], json!({ "name": "x", "inputResponses": { "k2": { "n": 2 } } }));
}

#[tokio::test]
async fn a_url_has_an_id_of_its_own_in_the_revision_that_wants_one() {
    let client = client(1, |_, _| result(json!({ "action": "accept" })));
    let question = asks(json!({
        "k": { "method": "elicitation/create", "params": { "mode": "url", "url": "https://a.example/", "message": "?" } }
    }));
    let latest = call(&client, Method::ToolsCall, ProtocolVersion::V2025_11_25);
    let (outcome, _) = run(&latest, vec![question.clone(), done()]).await;
    assert!(outcome.is_ok());
    let asked = client.asked.lock().unwrap()[0].1.clone();
    assert_eq!(asked["elicitationId"].as_str().unwrap().len(), 32);
    let older = call(&client, Method::ToolsCall, ProtocolVersion::V2025_06_18);
    let (outcome, _) = run(&older, vec![question]).await;
    assert!(text(outcome).contains(r#""isError":true"#));
    assert_eq!(
        client.asked.lock().unwrap().len(),
        1,
        "a client that knows no URLs is not asked"
    );
}

#[tokio::test]
async fn a_client_that_will_not_answer_ends_the_call() {
    let question = || asks(json!({ "k": { "method": "roots/list" } }));
    let unwilling = client(1, |_, _| Ok(Reply::error(-1, "no roots today")));
    let (outcome, _) = run(
        &call(&unwilling, Method::ToolsCall, ProtocolVersion::V2025_06_18),
        vec![question()],
    )
    .await;
    let said = text(outcome);
    assert!(
        said.contains(r#""isError":true"#) && said.contains("no roots today"),
        "{said}"
    );
    let (outcome, _) = run(
        &call(&unwilling, Method::PromptsGet, ProtocolVersion::V2025_06_18),
        vec![question()],
    )
    .await;
    assert_eq!(text(outcome), r#"{"code":-1,"message":"no roots today"}"#);
    let gone = client(1, |_, _| Err(Error::new(ErrorKind::Cancelled, "gone")));
    let (outcome, _) = run(
        &call(&gone, Method::ToolsCall, ProtocolVersion::V2025_06_18),
        vec![question()],
    )
    .await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
    let mut nobody = call(&gone, Method::ToolsCall, ProtocolVersion::V2025_06_18);
    nobody.client = ClientHandle::none();
    let (outcome, _) = run(&nobody, vec![question()]).await;
    assert!(text(outcome).contains("no client to ask"));
}

#[tokio::test]
async fn one_refusal_withdraws_the_other_questions() {
    struct Half;
    impl ClientPort for Half {
        fn notify(&self, _: Interim) -> bool {
            true
        }
        fn ask(&self, method: Method, _: Params) -> Asked {
            match method {
                Method::RootsList => Box::pin(std::future::ready(Ok(Reply::error(-1, "no")))),
                _ => Box::pin(std::future::pending()),
            }
        }
    }
    let any = client(1, |_, _| result(json!({})));
    let mut call = call(&any, Method::ToolsCall, ProtocolVersion::V2025_06_18);
    call.client = ClientHandle::new(Arc::new(Half));
    let question = asks(json!({
        "a": { "method": "elicitation/create", "params": { "message": "?" } },
        "b": { "method": "roots/list" },
    }));
    let (outcome, _) = run(&call, vec![question]).await;
    assert!(text(outcome).contains("isError"));
}

#[tokio::test(start_paused = true)]
async fn only_a_state_is_handed_back_at_once_and_not_for_ever() {
    let client = client(1, |_, _| result(json!({})));
    let call = call(&client, Method::ResourcesRead, ProtocolVersion::V2025_06_18);
    let shed = || json!({ "resultType": "input_required", "requestState": "later" });
    let before = tokio::time::Instant::now();
    let (outcome, seen) = run(&call, vec![shed(), done()]).await;
    assert!(outcome.is_ok());
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(seen[1], json!({ "name": "x", "requestState": "later" }));
    let (outcome, seen) = run(&call, vec![shed(); MAX_ROUNDS as usize]).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ServerFault);
    assert_eq!(seen.len(), MAX_ROUNDS as usize);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_the_backends_fault() {
    let client = client(1, |_, _| result(json!({})));
    let call = call(&client, Method::ToolsCall, ProtocolVersion::V2025_11_25);
    for nonsense in [
        json!({ "resultType": "input_required" }),
        asks(json!({})),
        asks(json!({ "k": { "params": {} } })),
        asks(json!({ "k": { "method": "roots/list", "params": [] } })),
        json!({ "resultType": "input_required", "requestState": 7 }),
    ] {
        let (outcome, _) = run(&call, vec![nonsense.clone()]).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ServerFault, "{nonsense}");
    }
    // What was never declared cannot be asked, whatever it is.
    let (outcome, _) = run(&call, vec![asks(json!({ "k": { "method": "tools/call" } }))]).await;
    assert!(text(outcome).contains("did not declare"));
}

#[tokio::test]
async fn a_client_of_this_era_makes_its_rounds_itself() {
    let client = client(1, |_, _| panic!("nobody is asked"));
    let call = call(&client, Method::ToolsCall, ProtocolVersion::V2026_07_28);
    let question = asks(json!({ "k": { "method": "roots/list" } }));
    let (outcome, _) = run(&call, vec![question.clone()]).await;
    assert_eq!(outcome.unwrap().result().unwrap().decode::<Value>().unwrap(), question);
    let (outcome, _) = run(&call, vec![done()]).await;
    assert!(text(outcome).contains("resultType"));
    let (outcome, _) = run(&call, vec![json!({ "resultType": "unheard-of" })]).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ServerFault);
}

#[tokio::test]
async fn the_log_level_travels_with_each_call() {
    let client = client(1, |_, _| result(json!({})));
    let (outcome, seen) = run(&call(&client, Method::SetLevel, ProtocolVersion::V2025_06_18), vec![]).await;
    assert_eq!(text(outcome), "{}");
    assert!(seen.is_empty());
}

#[tokio::test]
async fn what_a_client_lacks_is_told_in_words_it_knows() {
    let client = client(1, |_, _| result(json!({})));
    let lacking = async |method: Method, version: ProtocolVersion| {
        let data = json!({ "requiredCapabilities": { "sampling": {} } });
        let error = mcp_proxy_core::RpcError::with_data(codes::MISSING_CLIENT_CAPABILITY, "no sampling", &data);
        let call = call(&client, method, version);
        converse(MANNER, &call, |_| std::future::ready(Ok(Reply::Error(error.clone())))).await
    };
    let told = text(lacking(Method::ToolsCall, ProtocolVersion::V2025_06_18).await);
    assert!(
        told.contains(r#""isError":true"#) && told.contains("sampling"),
        "{told}"
    );
    let told = text(lacking(Method::PromptsGet, ProtocolVersion::V2025_06_18).await);
    assert!(
        told.contains("-32600") && told.contains("requiredCapabilities"),
        "{told}"
    );
    let told = text(lacking(Method::ToolsCall, ProtocolVersion::V2026_07_28).await);
    assert!(told.contains("-32021"), "{told}");
}
