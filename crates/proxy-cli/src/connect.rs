//! One connection to one server: by URL, or to a configured backend without the proxy between.

use std::error::Error as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mcp_proxy::core::json::{Params, RawJson};
use mcp_proxy::core::{Call, ClientHandle, Downstream, Error, Method, Reply, Secret};
use mcp_proxy::plan::{LinkPlan, Plan};
use mcp_proxy::transport::client::options::HttpOptions;
use mcp_proxy::transport::client::{Connected, Connector};
use serde_json::{Value, json};

use crate::args::{Credential, Source};
use crate::output::Failure;
use crate::source;

/// How long a server may take to answer the handshake; package runners fetch what they start.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// Pages of one list that are followed. No server has so many; one that never ends must not fill the memory.
const MOST_PAGES: usize = 1_000;

/// A server to talk to.
pub(crate) struct Target {
    pub(crate) name: Arc<str>,
    connector: Arc<dyn Connector>,
}

impl Target {
    /// The servers that a URL or name means; every enabled backend when there is none.
    pub(crate) fn find(source: &Source, name: Option<&str>, credential: &Credential) -> Result<Vec<Self>, Failure> {
        if let Some(url) = name.filter(|name| name.contains("://")) {
            return Ok(vec![Self::of_url(url, credential)?]);
        }
        let plan = source::plan(source)?;
        let Some(name) = name else {
            return Ok(Self::of_plan(&plan));
        };
        match plan.backends.iter().find(|backend| &*backend.name == name) {
            Some(backend) => Ok(vec![Self::of_link(&backend.name, &backend.link)]),
            None => {
                let names: Vec<&str> = plan.backends.iter().map(|backend| &*backend.name).collect();
                let help = format!(
                    "give a URL such as http://127.0.0.1:8080/mcp, or one of: {}",
                    names.join(", ")
                );
                Err(Failure::with_help(format!("no backend is called `{name}`"), help))
            }
        }
    }

    /// Every enabled backend.
    pub(crate) fn of_plan(plan: &Plan) -> Vec<Self> {
        let enabled = plan.backends.iter().filter(|backend| backend.enabled);
        enabled
            .map(|backend| Self::of_link(&backend.name, &backend.link))
            .collect()
    }

    fn of_link(name: &Arc<str>, link: &LinkPlan) -> Self {
        let connector = link.connector(name);
        Self {
            name: Arc::clone(name),
            connector,
        }
    }

    fn of_url(text: &str, credential: &Credential) -> Result<Self, Failure> {
        let help = "write it like http://127.0.0.1:8080/mcp";
        let url =
            url::Url::parse(text).map_err(|error| Failure::with_help(format!("this is not a URL: {error}"), help))?;
        let mut options = HttpOptions::new(url);
        options.bearer = credential.bearer_token.clone().map(Secret::new);
        let link = match options.url.scheme() {
            // By custom, this is where servers of that transport answer.
            "http" | "https" if options.url.path().ends_with("/sse") => LinkPlan::Sse(options),
            "http" | "https" => LinkPlan::Http(options),
            #[cfg(feature = "websocket")]
            "ws" | "wss" => LinkPlan::WebSocket(options),
            scheme => {
                let message = format!("the scheme `{scheme}` is not supported");
                return Err(Failure::with_help(message, help));
            }
        };
        Ok(Self::of_link(&text.into(), &link))
    }

    /// Opens the connection.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        match tokio::time::timeout(CONNECT_LIMIT, self.connector.connect(<dyn Downstream>::nobody())).await {
            Ok(Ok(connected)) => Ok(Connection { connected }),
            Ok(Err(error)) => Err(Failure::with_help(
                format!("cannot reach `{}`: {}", self.name, explain(&error)),
                "is the server running, and are address and credentials right?",
            )),
            Err(_) => {
                let limit = CONNECT_LIMIT.as_secs();
                Err(Failure::new(format!(
                    "`{}` did not answer within {limit} seconds",
                    self.name
                )))
            }
        }
    }
}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) connected: Connected,
}

impl Connection {
    /// Makes one call.
    pub(crate) async fn call(&self, method: Method, params: &Value, client: ClientHandle) -> Result<Reply, Failure> {
        let text = RawJson::encode(params);
        let params = Params::parse(text.as_bytes().clone())
            .map_err(|error| Failure::new(format!("these arguments cannot be sent: {error}")))?;
        let mut call = Call::new(method).with_params(params);
        call.client = client;
        let reply = self.connected.peer.call(call).await;
        reply.map_err(|error| Failure::new(explain(&error)))
    }

    /// All pages of a list, or nothing when the server has no such list.
    pub(crate) async fn list(&self, method: Method, member: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let params = match &cursor {
                Some(cursor) => json!({ "cursor": cursor }),
                None => json!({}),
            };
            let page = match self.call(method.clone(), &params, ClientHandle::none()).await? {
                Reply::Result(result) => result,
                // Method not found.
                Reply::Error(error) if error.code() == -32601 => return Ok(items),
                Reply::Error(error) => return Err(Failure::new(format!("{method}: {}", error.message()))),
            };
            let page: Value = page
                .decode()
                .map_err(|error| Failure::new(format!("{method}: {error}")))?;
            items.extend(page[member].as_array().cloned().unwrap_or_default());
            let next = page["nextCursor"].as_str().map(str::to_owned);
            if next.is_none() || next == cursor {
                return Ok(items);
            }
            cursor = next;
        }
        Ok(items)
    }

    /// Ends it politely.
    pub(crate) async fn close(self) {
        self.connected.peer.close().await;
    }
}

/// Runs something on this thread; Ctrl-C ends it, and what it started ends with it.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            result = work => result,
            Ok(()) = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        }
    })
}

/// An error with everything behind it.
pub(crate) fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
