//! Backends of the sessionless era over HTTP: a well-behaved server, and scripts that are not.

mod fixture;
mod listen;
mod scripted;

use std::sync::{Arc, Mutex};

use mcp_proxy_core::json::{Notification, Params, RawJson};
use mcp_proxy_core::{Asked, Call, Context, Declared, Downstream, Error, Method, ProtocolVersion, SessionKey};
use mcp_proxy_transport::client::http::HttpConnector;
use mcp_proxy_transport::client::options::HttpOptions;
use mcp_proxy_transport::client::{Connected, Connector};
use tokio::sync::watch;

use super::script::Seen;
use super::soon;

/// Those who listen for what a backend says outside calls.
struct Clients {
    told: Mutex<Vec<(Option<SessionKey>, String, String)>>,
    changed: watch::Sender<usize>,
}

impl Clients {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            told: Mutex::default(),
            changed: watch::channel(0).0,
        })
    }

    /// Waits until that much was told.
    async fn wait_for(&self, count: usize) -> Vec<(Option<SessionKey>, String, String)> {
        let mut changed = self.changed.subscribe();
        soon(changed.wait_for(|told| *told >= count)).await.unwrap();
        self.told.lock().unwrap().clone()
    }
}

impl Downstream for Clients {
    fn tell(&self, to: Option<SessionKey>, notification: Notification) -> bool {
        let params = String::from_utf8(notification.params.to_bytes().to_vec()).unwrap();
        let mut told = self.told.lock().unwrap();
        told.push((to, notification.method.to_string(), params));
        self.changed.send_replace(told.len());
        true
    }

    fn ask(&self, _: SessionKey, method: Method, _: Params) -> Asked {
        panic!("nobody is asked for {method} outside calls in this era")
    }
}

/// Connects with something that hears what the backend announces.
async fn listening(options: HttpOptions, clients: &Arc<Clients>) -> (HttpConnector, Connected) {
    let connector = HttpConnector::new(options);
    let connected = soon(connector.connect(clients.clone())).await;
    (connector, connected.unwrap())
}

/// A call of a client that speaks `version` and can do all there is.
fn of_client(mut call: Call, version: ProtocolVersion) -> Call {
    let capabilities = RawJson::from_static(r#"{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}}"#);
    let info = RawJson::from_static(r#"{"name":"client","version":"1"}"#);
    call.context = Context {
        version,
        declared: Arc::new(Declared::new(capabilities, Some(info))),
        ..Context::default()
    };
    call
}

fn says(error: &Error) -> String {
    format!("{error}: {:?}", std::error::Error::source(error))
}

/// `_meta` of a request.
fn meta(seen: &Seen, key: &str) -> serde_json::Value {
    seen.json()["params"]["_meta"][format!("io.modelcontextprotocol/{key}")].clone()
}
