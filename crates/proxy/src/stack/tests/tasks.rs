//! Tasks of both eras: ids in, ids out, whose they are, and tools that insist on being tasks.

use std::sync::{Arc, Mutex};

use mcp_proxy_core::catalogue::{CatalogueBuilder, Listing, Source};
use mcp_proxy_core::json::{Notification, Params, RawJson, Slot};
use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{
    Asked, Call, ClientHandle, ClientPort, Declared, Error, Interim, Method, ProtocolVersion, Reply, Session,
    SessionKey, SharedService, codes,
};

use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;

use super::super::run_task::RunTaskLayer;
use super::{Seen, ok, raw, stack};
use crate::interest::Interest;

const SESSION: ProtocolVersion = ProtocolVersion::LATEST_SESSION;
const SESSIONLESS: ProtocolVersion = ProtocolVersion::LATEST_SESSIONLESS;
const KEY: SessionKey = SessionKey(3);

/// `old` has tasks of 2025-11-25, `new` the extension, `none` neither.
fn proxy(
    answer: impl Fn(&Call) -> Result<Reply, Error> + Clone + Send + Sync + 'static,
) -> (SharedService, Seen, Arc<Interest>) {
    let listing = |version, capabilities: &str| Listing {
        version: Some(version),
        capabilities: Some(raw(capabilities)),
        tools: vec![
            raw(r#"{"name":"run"}"#),
            raw(r#"{"name":"must","execution":{"taskSupport":"required"}}"#),
        ],
        ..Listing::default()
    };
    let old = listing(SESSION, r#"{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}}"#);
    let new = listing(
        SESSIONLESS,
        r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
    );
    let none = listing(SESSION, r#"{"tools":{}}"#);
    stack(vec![("old", "o", old), ("new", "n", new), ("none", "", none)], answer)
}

async fn call(service: &SharedService, version: ProtocolVersion, method: Method, params: &str) -> Reply {
    service.call(made(version, method, params)).await.unwrap()
}

fn made(version: ProtocolVersion, method: Method, params: &str) -> Call {
    let mut call = Call::new(method).with_params(Params::parse(params.to_owned()).unwrap());
    call.context.version = version;
    if version.is_sessionless() {
        let capabilities = raw(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
        call.context.declared = Arc::new(Declared::new(capabilities, None));
    } else {
        call.context.session = Some(Arc::new(Session {
            key: KEY,
            version,
            declared: Declared::nothing(),
        }));
    }
    call
}

/// One call: what the backend saw, and what the client gets.
async fn check(version: ProtocolVersion, method: Method, params: &str, answer: &str, up: &str, down: &str) {
    let answer = answer.to_owned();
    let (service, seen, _) = proxy(move |_| ok(&answer));
    let reply = call(&service, version, method, params).await;
    assert_eq!(*seen.lock().unwrap(), [up]);
    assert_eq!(reply.result().map(RawJson::as_str), Some(down));
}

async fn check_refused(version: ProtocolVersion, method: Method, params: &str, code: i64) {
    let (service, seen, _) = proxy(|_| ok("{}"));
    let reply = call(&service, version, method.clone(), params).await;
    assert!(
        matches!(&reply, Reply::Error(error) if error.code() == code),
        "{method} {params}: {reply:?}"
    );
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn ids_of_tasks_name_their_backend_outside_and_nothing_inside() {
    check(
        SESSION,
        Method::ToolsCall,
        r#"{"name":"o/run","task":{"ttl":1.0}}"#,
        r#"{"task":{"taskId":"t.1","status":"working"},"taskId":"x"}"#,
        r#"tools/call {"name":"run","task":{"ttl":1.0}}"#,
        r#"{"task":{"taskId":"old.t.1","status":"working"},"taskId":"x"}"#,
    )
    .await;
    check(
        SESSION,
        Method::TasksResult,
        r#"{"taskId":"old.t.1"}"#,
        r#"{"content":[{"type":"resource_link","uri":"a:1"}],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t.1"}}}"#,
        r#"tasks/result {"taskId":"t.1"}"#,
        r#"{"content":[{"type":"resource_link","uri":"o+a:1"}],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"old.t.1"}}}"#,
    )
    .await;
    check(
        SESSIONLESS,
        Method::ToolsCall,
        r#"{"name":"n/run"}"#,
        r#"{"resultType":"task","taskId":"t"}"#,
        r#"tools/call {"name":"run"}"#,
        r#"{"resultType":"task","taskId":"new.t"}"#,
    )
    .await;
    check(
        SESSIONLESS,
        Method::TasksGet,
        r#"{"taskId":"new.t"}"#,
        r#"{"taskId":"t","result":{"content":[{"type":"resource_link","uri":"a:1"}]}}"#,
        r#"tasks/get {"taskId":"t"}"#,
        r#"{"taskId":"new.t","result":{"content":[{"type":"resource_link","uri":"n+a:1"}]}}"#,
    )
    .await;
    check(
        SESSIONLESS,
        Method::TasksUpdate,
        r#"{"taskId":"new.t","inputResponses":{"k":{}}}"#,
        "{}",
        r#"tasks/update {"taskId":"t","inputResponses":{"k":{}}}"#,
        "{}",
    )
    .await;
}

#[tokio::test]
async fn a_result_that_only_looks_like_a_task_stays_as_it_is() {
    let plain = r#"{"content":[],"taskId":"t"}"#;
    check(
        SESSIONLESS,
        Method::ToolsCall,
        r#"{"name":"n/run"}"#,
        plain,
        r#"tools/call {"name":"run"}"#,
        plain,
    )
    .await;
}

#[tokio::test]
async fn tasks_that_are_not_of_ones_own_era_or_nobodys_are_unknown() {
    for (version, method) in [
        (SESSION, Method::TasksList),
        (SESSION, Method::TasksUpdate),
        (SESSIONLESS, Method::TasksResult),
        (SESSIONLESS, Method::TasksList),
        (ProtocolVersion::V2025_06_18, Method::TasksGet),
    ] {
        check_refused(version, method, r#"{"taskId":"old.t"}"#, codes::METHOD_NOT_FOUND).await;
    }
    for params in [
        r#"{"taskId":"new.t"}"#,
        r#"{"taskId":"none.t"}"#,
        r#"{"taskId":"gone.t"}"#,
        r#"{"taskId":"t"}"#,
        r#"{"taskId":7}"#,
        "{}",
    ] {
        check_refused(SESSION, Method::TasksGet, params, codes::INVALID_PARAMS).await;
    }
    check_refused(
        SESSIONLESS,
        Method::TasksGet,
        r#"{"taskId":"old.t"}"#,
        codes::INVALID_PARAMS,
    )
    .await;
}

#[tokio::test]
async fn whose_a_task_is_is_noted() {
    let (service, _, interest) = proxy(|_| ok(r#"{"task":{"taskId":"t"}}"#));
    call(&service, SESSION, Method::ToolsCall, r#"{"name":"o/run","task":{}}"#).await;
    assert_eq!(interest.task_owner(0, "t"), Some(KEY));
    assert_eq!(interest.task_owner(0, "old.t"), None);
}

/// A client that writes down what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl ClientPort for Told {
    fn notify(&self, message: Interim) -> bool {
        let params = message.params.to_raw().unwrap();
        self.0.lock().unwrap().push(params.as_str().to_owned());
        true
    }

    fn ask(&self, _: Method, params: Params) -> Asked {
        self.0
            .lock()
            .unwrap()
            .push(params.to_raw().unwrap().as_str().to_owned());
        Box::pin(async { Ok(Reply::Result(RawJson::from_static("{}"))) })
    }
}

#[tokio::test]
async fn what_comes_in_between_names_the_task_as_the_client_knows_it() {
    let message = r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#;
    let (service, ..) = proxy(move |call| {
        let params = || Params::parse(message.to_owned()).unwrap();
        call.client.notify(Notification {
            method: Method::LogMessage,
            params: params(),
        });
        drop(call.client.ask(Method::Elicit, params()));
        call.client.notify(Notification {
            method: Method::TaskStatus,
            params: Params::parse(r#"{"taskId":"t"}"#).unwrap(),
        });
        ok("{}")
    });
    let told = Arc::new(Told::default());
    let mut made = made(SESSION, Method::TasksResult, r#"{"taskId":"old.t"}"#);
    made.client = ClientHandle::new(told.clone());
    service.call(made).await.unwrap();
    let expected = message.replace("\"t\"", "\"old.t\"");
    assert_eq!(
        *told.0.lock().unwrap(),
        [expected.as_str(), expected.as_str(), r#"{"taskId":"old.t"}"#]
    );
}

#[tokio::test]
async fn a_tool_that_must_be_a_task_is_one_inside_for_clients_without_tasks() {
    let answer = |call: &Call| match call.method {
        Method::ToolsCall => ok(r#"{"task":{"taskId":"t","status":"working"}}"#),
        _ => ok(r#"{"content":[{"uri":"a:1"}],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#),
    };
    for version in [SESSIONLESS, ProtocolVersion::V2025_06_18] {
        let (service, seen, _) = proxy(answer);
        let reply = call(&service, version, Method::ToolsCall, r#"{"name":"o/must"}"#).await;
        assert_eq!(reply.result().unwrap().as_str(), r#"{"content":[{"uri":"o+a:1"}]}"#);
        assert_eq!(
            *seen.lock().unwrap(),
            [
                r#"tools/call {"task":{},"name":"must"}"#,
                r#"tasks/result {"taskId":"t"}"#
            ]
        );
    }
    // Who has tasks may use them, or be told to.
    let (service, seen, _) = proxy(answer);
    call(&service, SESSION, Method::ToolsCall, r#"{"name":"o/must"}"#).await;
    assert_eq!(*seen.lock().unwrap(), [r#"tools/call {"name":"must"}"#]);
}

#[tokio::test]
async fn a_task_that_nobody_waits_for_any_more_is_cancelled() {
    let (seen, mut calls) = tokio::sync::mpsc::channel(8);
    let backend = tower::service_fn(move |call: Call| {
        let seen = seen.clone();
        async move {
            seen.try_send(format!("{} {:?}", call.method, call.params.string(Slot::TaskId)))
                .unwrap();
            match call.method {
                Method::TasksResult => std::future::pending().await,
                _ => ok(r#"{"task":{"taskId":"t"}}"#),
            }
        }
    });
    let errands = TaskTracker::new();
    let service = SharedService::new(
        ServiceBuilder::new()
            .layer(RunTaskLayer::new(&errands))
            .service(backend),
    );
    let mut builder = CatalogueBuilder::new(None);
    let source = Source {
        name: "old".into(),
        namespace: Namespace::new("", "/"),
        trust_annotations: false,
    };
    let listing = Listing {
        tools: vec![raw(r#"{"name":"must","execution":{"taskSupport":"required"}}"#)],
        ..Listing::default()
    };
    builder.add(source, Some(Arc::new(listing)));
    let mut made = made(SESSIONLESS, Method::ToolsCall, r#"{"name":"must"}"#);
    made.item = builder.build().tool("must").cloned();
    let mut running = JoinSet::new();
    running.spawn(service.call(made));
    assert_eq!(calls.recv().await.unwrap(), "tools/call None");
    assert_eq!(calls.recv().await.unwrap(), r#"tasks/result Some("t")"#);
    running.shutdown().await;
    assert_eq!(calls.recv().await.unwrap(), r#"tasks/cancel Some("t")"#);
    errands.close();
    errands.wait().await;
}
