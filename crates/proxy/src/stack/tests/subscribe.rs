//! Subscriptions: whose wish reaches which backend, and what is refused.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use mcp_proxy_core::catalogue::{CatalogueBuilder, Listing, Source};
use mcp_proxy_core::json::Params;
use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{Call, Declared, Method, ProtocolVersion, Reply, Session, SessionKey, SharedService, codes};

use super::super::edge::edge;
use super::super::route::Route;
use super::raw;
use crate::interest::{Interest, Settled, Watch};

const KEY: SessionKey = SessionKey(7);

/// A proxy in front of `files`, which takes subscriptions and has tasks, and of `plain`, which has neither.
struct Proxy {
    service: SharedService,
    /// What backends were asked to watch.
    told: Arc<Mutex<Vec<String>>>,
}

fn proxy() -> Proxy {
    proxy_where(Arc::new(|_| Box::pin(std::future::ready(()))))
}

/// The same, where backends are asked as `settled` says.
fn proxy_where(settled: Settled) -> Proxy {
    let mut builder = CatalogueBuilder::new(None);
    let declared = [
        (
            "files",
            r#"{"tools":{},"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
        ),
        ("plain", r#"{"resources":{}}"#),
    ];
    for (name, capabilities) in declared {
        let source = Source {
            name: name.into(),
            namespace: Namespace::new(name, "/"),
            trust_annotations: false,
        };
        let listing = Listing {
            version: Some(ProtocolVersion::LATEST_SESSIONLESS),
            capabilities: Some(raw(capabilities)),
            ..Listing::default()
        };
        builder.add(source, Some(Arc::new(listing)));
    }
    let catalogue = Arc::new(ArcSwap::from_pointee(builder.build()));
    let interest = Arc::new(Interest::default());
    interest.open(KEY);
    let told = Arc::<Mutex<Vec<String>>>::default();
    let watch: Watch = {
        let told = told.clone();
        Arc::new(move |backend, about, names| {
            told.lock()
                .unwrap()
                .push(format!("{backend} {about:?}: {}", names.join(" ")));
        })
    };
    let service = edge(&catalogue, &interest, &watch, &settled, Route::new([]));
    Proxy { service, told }
}

impl Proxy {
    async fn call(&self, version: ProtocolVersion, session: Option<SessionKey>, method: Method, params: &str) -> Reply {
        let mut call = Call::new(method).with_params(Params::parse(params.to_owned()).unwrap());
        call.context.version = version;
        call.context.session = session.map(|key| {
            Arc::new(Session {
                key,
                version,
                declared: Declared::nothing(),
            })
        });
        self.service.call(call).await.unwrap()
    }

    /// A session-era call: its result or error code, and what backends were told.
    async fn check(&self, method: Method, uri: &str, expected: Result<&str, i64>, told: &[&str]) {
        let params = format!(r#"{{"uri":"{uri}"}}"#);
        let reply = self
            .call(ProtocolVersion::LATEST_SESSION, Some(KEY), method, &params)
            .await;
        let found = match &reply {
            Reply::Result(result) => Ok(result.as_str()),
            Reply::Error(error) => Err(error.code()),
        };
        assert_eq!(found, expected);
        assert_eq!(std::mem::take(&mut *self.told.lock().unwrap()), told);
    }
}

#[tokio::test]
async fn a_resource_is_watched_at_its_backend_under_its_own_name() {
    let proxy = proxy();
    let (begin, end) = (Method::ResourcesSubscribe, Method::ResourcesUnsubscribe);
    proxy
        .check(begin.clone(), "files+a:1", Ok("{}"), &["0 Resource: a:1"])
        .await;
    proxy.check(begin.clone(), "files+a:1", Ok("{}"), &[]).await;
    proxy.check(end.clone(), "files+a:1", Ok("{}"), &["0 Resource: "]).await;
    proxy.check(end, "files+a:1", Ok("{}"), &[]).await;
    proxy
        .check(begin.clone(), "plain+a:1", Err(codes::METHOD_NOT_FOUND), &[])
        .await;
    proxy
        .check(begin, "gone+a:1", Err(codes::RESOURCE_NOT_FOUND), &[])
        .await;
}

#[tokio::test]
async fn a_subscription_needs_somebody_to_tell() {
    let proxy = proxy();
    let params = r#"{"uri":"files+a:1"}"#;
    for (version, session, code) in [
        (ProtocolVersion::LATEST_SESSION, None, codes::INVALID_REQUEST),
        (
            ProtocolVersion::LATEST_SESSION,
            Some(SessionKey(8)),
            codes::INVALID_REQUEST,
        ),
        (ProtocolVersion::LATEST_SESSIONLESS, Some(KEY), codes::METHOD_NOT_FOUND),
    ] {
        let reply = proxy.call(version, session, Method::ResourcesSubscribe, params).await;
        assert!(matches!(reply, Reply::Error(error) if error.code() == code));
    }
    assert!(proxy.told.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_listener_is_told_which_of_its_wishes_are_honoured() {
    let proxy = proxy();
    let filter = r#"{"notifications":{
        "toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":false,"x":true,
        "resourceSubscriptions":["files+a:1","plain+a:2","gone+a:3",4],
        "taskIds":["files.1","plain.1","1"]}}"#;
    let reply = proxy
        .call(
            ProtocolVersion::LATEST_SESSIONLESS,
            Some(KEY),
            Method::SubscriptionsListen,
            filter,
        )
        .await;
    let result = reply.result().unwrap().get("notifications").unwrap();
    let mut members = result.members();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    let members: Vec<_> = members.iter().map(|(key, value)| (&**key, value.as_str())).collect();
    assert_eq!(
        members,
        [
            ("resourceSubscriptions", r#"["files+a:1"]"#),
            ("taskIds", r#"["files.1"]"#),
            ("toolsListChanged", "true"),
        ]
    );
    assert_eq!(*proxy.told.lock().unwrap(), ["0 Resource: a:1", "0 Task: 1"]);
    let empty = proxy
        .call(
            ProtocolVersion::LATEST_SESSIONLESS,
            Some(KEY),
            Method::SubscriptionsListen,
            r#"{"notifications":{}}"#,
        )
        .await;
    assert_eq!(empty.result().unwrap().as_str(), r#"{"notifications":{}}"#);
}

#[tokio::test(start_paused = true)]
async fn the_answer_waits_for_its_backend_but_not_for_ever() {
    let started = tokio::time::Instant::now();
    let proxy = proxy_where(Arc::new(|backend| {
        assert_eq!(backend, 0);
        Box::pin(tokio::time::sleep(std::time::Duration::from_millis(300)))
    }));
    let begin = Method::ResourcesSubscribe;
    proxy
        .check(begin.clone(), "files+a:1", Ok("{}"), &["0 Resource: a:1"])
        .await;
    assert_eq!(started.elapsed().as_millis(), 300);
    let proxy = proxy_where(Arc::new(|_| Box::pin(std::future::pending())));
    proxy.check(begin, "files+a:1", Ok("{}"), &["0 Resource: a:1"]).await;
    assert_eq!(started.elapsed().as_millis(), 2300);
}
