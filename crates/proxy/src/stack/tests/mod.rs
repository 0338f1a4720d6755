//! The stack over a scripted backend: names in, names out, lists, refusals.

mod names;
mod subscribe;
mod tasks;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use mcp_proxy_core::catalogue::{CatalogueBuilder, Listing, Source};
use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{Call, Error, ErrorKind, Method, Reply, SharedService, codes};
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;

use super::backend::Own;
use super::edge::edge;
use super::localise::LocaliseLayer;
use super::route::Route;
use super::run_task::RunTaskLayer;
use crate::interest::{Interest, Settled, Watch};

/// What the backend got, as `method params`.
type Seen = Arc<Mutex<Vec<String>>>;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned()).unwrap()
}

/// A proxy in front of these backends (name, namespace, listing); all answer by `answer`.
fn stack(
    backends: Vec<(&str, &str, Listing)>,
    answer: impl Fn(&Call) -> Result<Reply, Error> + Clone + Send + Sync + 'static,
) -> (SharedService, Seen, Arc<Interest>) {
    let interest = Arc::new(Interest::default());
    let seen = Seen::default();
    let mut builder = CatalogueBuilder::new(None);
    let mut services = Vec::new();
    for (index, (name, namespace, listing)) in backends.into_iter().enumerate() {
        let (name, namespace) = (Arc::from(name), Namespace::new(namespace, "/"));
        let (seen, answer) = (seen.clone(), answer.clone());
        let backend = tower::service_fn(move |call: Call| {
            let params = String::from_utf8(call.params.to_bytes().to_vec()).unwrap();
            seen.lock().unwrap().push(format!("{} {params}", call.method));
            let answer = answer(&call);
            async move { answer }
        });
        let own = Own {
            index,
            name: &name,
            namespace: &namespace,
        };
        services.push(SharedService::new(
            ServiceBuilder::new()
                .layer(LocaliseLayer::new(&own, &interest))
                .layer(RunTaskLayer::new(&TaskTracker::new()))
                .service(backend),
        ));
        let source = Source {
            name,
            namespace,
            trust_annotations: false,
        };
        builder.add(source, Some(Arc::new(listing)));
    }
    let catalogue = Arc::new(ArcSwap::from_pointee(builder.build()));
    let watch: Watch = Arc::new(|_, _, _| {});
    let settled: Settled = Arc::new(|_| Box::pin(std::future::ready(())));
    (
        edge(&catalogue, &interest, &watch, &settled, Route::new(services)),
        seen,
        interest,
    )
}

/// A proxy in front of one backend `files` that answers every call with `answer`.
fn proxy(answer: Result<Reply, Error>) -> (SharedService, Seen) {
    let listing = Listing {
        capabilities: Some(raw(r#"{"tools":{},"resources":{},"prompts":{},"logging":{}}"#)),
        tools: vec![raw(r#"{"name":"read"}"#)],
        prompts: vec![raw(r#"{"name":"ask"}"#)],
        templates: vec![raw(r#"{"uriTemplate":"file:///{path}","name":"t"}"#)],
        ..Listing::default()
    };
    let (service, seen, _) = stack(vec![("files", "files", listing)], move |_| answer.clone());
    (service, seen)
}

fn ok(text: &str) -> Result<Reply, Error> {
    Ok(Reply::Result(raw(text)))
}

async fn call(service: &SharedService, method: Method, params: &str) -> Reply {
    let params = if params.is_empty() {
        Params::absent()
    } else {
        Params::parse(params.to_owned()).unwrap()
    };
    service
        .call(Call::new(method).with_params(params))
        .await
        .expect("the edge turns errors into replies")
}

/// One call through the proxy: what the backend saw, and the answer.
async fn check(method: Method, params: &str, answer: &str, upstream: &str, downstream: &str) {
    let (service, seen) = proxy(ok(answer));
    let reply = call(&service, method, params).await;
    assert_eq!(seen.lock().unwrap().as_slice(), [upstream]);
    assert_eq!(reply.result().map(RawJson::as_str), Some(downstream));
}

async fn check_refused(method: Method, params: &str, code: i64) {
    let (service, seen) = proxy(ok("{}"));
    let Reply::Error(error) = call(&service, method, params).await else {
        panic!("must be refused")
    };
    assert_eq!(error.code(), code);
    assert!(
        seen.lock().unwrap().is_empty(),
        "a refused call never reaches a backend"
    );
}

#[tokio::test]
async fn names_and_uris_are_mapped_both_ways_and_nothing_else_changes() {
    let tool = r#"{ "name":"files/read", "arguments":{"n":1.0e2,"name":"files/read"} }"#;
    check(
        Method::ToolsCall,
        tool,
        r#"{"content":[{"type":"resource_link","uri":"file:///a"}],"x":1.0}"#,
        r#"tools/call { "name":"read", "arguments":{"n":1.0e2,"name":"files/read"} }"#,
        r#"{"content":[{"type":"resource_link","uri":"files+file:///a"}],"x":1.0}"#,
    )
    .await;
    check(
        Method::ResourcesRead,
        r#"{"uri":"files+file:///a"}"#,
        r#"{"contents":[{"uri":"file:///a","text":""}]}"#,
        r#"resources/read {"uri":"file:///a"}"#,
        r#"{"contents":[{"uri":"files+file:///a","text":""}]}"#,
    )
    .await;
    check(
        Method::PromptsGet,
        r#"{"name":"files/ask"}"#,
        "{}",
        r#"prompts/get {"name":"ask"}"#,
        "{}",
    )
    .await;
    check(
        Method::Complete,
        r#"{"ref":{"type":"ref/resource","uri":"files+file:///{path}"},"argument":{"name":"path","value":"a"}}"#,
        "{}",
        r#"completion/complete {"ref":{"type":"ref/resource","uri":"file:///{path}"},"argument":{"name":"path","value":"a"}}"#,
        "{}",
    )
    .await;
    check(
        Method::Complete,
        r#"{"ref":{"type":"ref/prompt","name":"files/ask"}}"#,
        "{}",
        r#"completion/complete {"ref":{"type":"ref/prompt","name":"ask"}}"#,
        "{}",
    )
    .await;
    check(
        Method::SetLevel,
        r#"{"level":"info"}"#,
        "{}",
        r#"logging/setLevel {"level":"info"}"#,
        "{}",
    )
    .await;
}

#[tokio::test]
async fn lists_come_from_the_catalogue() {
    let (service, seen) = proxy(ok("{}"));
    let reply = call(&service, Method::ToolsList, "").await;
    assert_eq!(reply.result().unwrap().as_str(), r#"{"tools":[{"name":"files/read"}]}"#);
    let reply = call(&service, Method::ResourceTemplatesList, r#"{"cursor":null}"#).await;
    assert!(reply.result().unwrap().as_str().contains("files+file:///{path}"));
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_resolved_is_refused_before_any_backend() {
    check_refused(Method::ToolsCall, r#"{"name":"read"}"#, codes::INVALID_PARAMS).await;
    check_refused(Method::ToolsCall, r#"{"name":7}"#, codes::INVALID_PARAMS).await;
    check_refused(Method::ToolsCall, "", codes::INVALID_PARAMS).await;
    check_refused(Method::PromptsGet, r#"{"name":"files/read"}"#, codes::INVALID_PARAMS).await;
    check_refused(
        Method::ResourcesRead,
        r#"{"uri":"other+file:///a"}"#,
        codes::RESOURCE_NOT_FOUND,
    )
    .await;
    check_refused(Method::ToolsList, r#"{"cursor":""}"#, codes::INVALID_PARAMS).await;
    check_refused(Method::Complete, r#"{"ref":{}}"#, codes::INVALID_PARAMS).await;
    check_refused(Method::SetLevel, r#"{"level":"loud"}"#, codes::INVALID_PARAMS).await;
    check_refused(Method::from("tools/forget"), "", codes::METHOD_NOT_FOUND).await;
}

#[tokio::test]
async fn errors_become_replies_that_say_no_more_than_they_should() {
    let error = Error::new(ErrorKind::NotSent, "backend `files` is not available")
        .backend("files")
        .caused_by("connect 10.0.0.7:443: refused");
    let (service, _) = proxy(Err(error));
    let Reply::Error(error) = call(&service, Method::ToolsCall, r#"{"name":"files/read"}"#).await else {
        panic!()
    };
    assert_eq!(
        error.raw().as_str(),
        r#"{"code":-31001,"message":"backend `files` is not available","data":{"reason":"backend_unavailable","backend":"files"}}"#
    );
}
