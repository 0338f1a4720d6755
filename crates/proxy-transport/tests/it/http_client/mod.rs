//! Streamable HTTP towards backends, over real sockets: against a well-behaved server, and against ones that are not.

mod answers;
mod connections;
mod fixture;
mod interim;
mod pooled;
mod questions;
mod resume;
mod script;
mod sessionless;
mod sessions;
mod streams;
mod tls;
mod unasked;
mod watching;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_proxy_core::json::{Notification, Params, RawJson};
use mcp_proxy_core::{
    Asked, Call, ClientHandle, ClientPort, Context, Declared, Downstream, Error, ErrorKind, Interim, Method,
    ProtocolVersion, Reply, Session, SessionKey,
};
use mcp_proxy_transport::client::http::HttpConnector;
use mcp_proxy_transport::client::options::HttpOptions;
use mcp_proxy_transport::client::{Connected, Connector};
use tokio::sync::Notify;

use script::Script;

fn options(script: &Script) -> HttpOptions {
    HttpOptions::new(script.url().parse().unwrap())
}

async fn connect(options: HttpOptions) -> (HttpConnector, Connected) {
    connect_to(options, <dyn Downstream>::nobody()).await
}

async fn connect_to(options: HttpOptions, downstream: Arc<dyn Downstream>) -> (HttpConnector, Connected) {
    let connector = HttpConnector::new(options);
    let connected = soon(connector.connect(downstream)).await.unwrap();
    (connector, connected)
}

/// Long enough for any machine, short enough to see that something hangs.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, work).await.expect("it hangs")
}

fn tool(params: &str) -> Call {
    Call::new(Method::ToolsCall).with_params(Params::parse(params.to_owned()).unwrap())
}

fn call() -> Call {
    tool(r#"{"name":"x"}"#)
}

fn of_session(mut call: Call, key: u64) -> Call {
    let session = Session {
        key: SessionKey(key),
        version: ProtocolVersion::LATEST_SESSION,
        declared: Declared::nothing(),
    };
    call.context = Context {
        session: Some(Arc::new(session)),
        ..Context::default()
    };
    call
}

async fn run(connected: &Connected, call: Call) -> Result<Reply, Error> {
    soon(connected.peer.call(call)).await
}

#[track_caller]
fn assert_kind(outcome: Result<Reply, Error>, kind: ErrorKind) {
    match outcome {
        Err(error) => assert_eq!(error.kind(), kind, "{error}: {:?}", std::error::Error::source(&error)),
        Ok(reply) => panic!("{reply:?} instead of {kind:?}"),
    }
}

fn text(reply: &Reply) -> &str {
    reply.result().expect("a result").as_str()
}

/// A client that writes down what it is told, and answers what it is asked.
struct Client {
    told: Mutex<Vec<(String, String)>>,
    news: Notify,
    answer: Box<dyn Fn(Method, Params) -> Asked + Send + Sync>,
}

impl Client {
    fn handle() -> (Arc<Self>, ClientHandle) {
        let refusal = || Error::new(ErrorKind::Refused, "nobody is asked here");
        Self::answering(move |_, _| Box::pin(std::future::ready(Err(refusal()))))
    }

    fn answering(answer: impl Fn(Method, Params) -> Asked + Send + Sync + 'static) -> (Arc<Self>, ClientHandle) {
        let client = Arc::new(Self {
            told: Mutex::default(),
            news: Notify::new(),
            answer: Box::new(answer),
        });
        (client.clone(), ClientHandle::new(client))
    }

    fn told(&self) -> Vec<(String, String)> {
        self.told.lock().unwrap().clone()
    }
}

impl ClientPort for Client {
    fn notify(&self, message: Interim) -> bool {
        let params = String::from_utf8(message.params.to_bytes().to_vec()).unwrap();
        self.told.lock().unwrap().push((message.method.to_string(), params));
        self.news.notify_one();
        true
    }

    fn ask(&self, method: Method, params: Params) -> Asked {
        (self.answer)(method, params)
    }
}

/// All clients outside their calls: writes down what they are told, and answers what they are asked with its own name.
#[derive(Default)]
struct Clients {
    told: Mutex<Vec<(Option<u64>, String)>>,
    news: Notify,
}

impl Clients {
    async fn wait_for(&self, to: Option<u64>, method: &str) {
        loop {
            if self.told.lock().unwrap().contains(&(to, method.to_owned())) {
                return;
            }
            self.news.notified().await;
        }
    }
}

impl Downstream for Clients {
    fn tell(&self, to: Option<SessionKey>, notification: Notification) -> bool {
        let told = (to.map(|key| key.0), notification.method.to_string());
        self.told.lock().unwrap().push(told);
        self.news.notify_one();
        true
    }

    fn ask(&self, client: SessionKey, _: Method, _: Params) -> Asked {
        let answer = RawJson::parse(format!(r#"{{"outside":{}}}"#, client.0)).unwrap();
        Box::pin(async move { Ok(Reply::Result(answer)) })
    }
}

/// A call of the sessionless era.
fn sessionless(mut call: Call, capabilities: &'static str) -> Call {
    call.context = Context {
        version: ProtocolVersion::LATEST_SESSIONLESS,
        declared: Arc::new(Declared::new(RawJson::from_static(capabilities), None)),
        ..Context::default()
    };
    call
}
