//! The peer against a scripted other side.

mod calls;
mod opening;
mod questions;
mod sessionless;

use std::sync::Mutex;

use mcp_proxy_core::json::Params;
use mcp_proxy_core::{Asked, ClientHandle, ClientPort, Interim, Method, Reply, Session};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::*;

/// The backend's end of the pipe.
struct Backend {
    input: BufReader<ReadHalf<DuplexStream>>,
    output: WriteHalf<DuplexStream>,
}

impl Backend {
    async fn read(&mut self) -> String {
        let mut line = String::new();
        self.input.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    async fn write(&mut self, text: &str) {
        self.output.write_all(format!("{text}\n").as_bytes()).await.unwrap();
    }

    /// Writes a ping and waits for its answer: what was written before has been read then.
    async fn settle(&mut self) {
        self.write(r#"{"jsonrpc":"2.0","id":"sync","method":"ping"}"#).await;
        assert_eq!(self.read().await, r#"{"jsonrpc":"2.0","id":"sync","result":{}}"#);
    }
}

/// What belongs to no call, by whose it is.
#[derive(Default)]
struct Outside {
    told: Mutex<Vec<(Option<SessionKey>, String)>>,
    asked: Notes,
}

impl mcp_proxy_core::Downstream for Outside {
    fn tell(&self, to: Option<SessionKey>, message: Notification) -> bool {
        let params = String::from_utf8(message.params.to_bytes().to_vec()).unwrap();
        self.told
            .lock()
            .unwrap()
            .push((to, format!("{} {params}", message.method)));
        true
    }

    fn ask(&self, client: SessionKey, method: Method, params: Params) -> Asked {
        assert_eq!(client, SessionKey(1), "the owner");
        self.asked.note(method, &params)
    }
}

fn for_all() -> Behalf {
    Behalf::everybody(<dyn mcp_proxy_core::Downstream>::nobody())
}

fn connected(pipe: usize) -> (DuplexPeer, mpsc::Receiver<PeerEvent>, Backend) {
    connected_for(pipe, for_all())
}

fn connected_for(pipe: usize, behalf: Behalf) -> (DuplexPeer, mpsc::Receiver<PeerEvent>, Backend) {
    let (ours, theirs) = tokio::io::duplex(pipe);
    let (reader, writer) = tokio::io::split(ours);
    let (peer, events) = DuplexPeer::lines(reader, writer, DuplexOptions::new("test"), behalf);
    let (input, output) = tokio::io::split(theirs);
    let input = BufReader::new(input);
    (peer, events, Backend { input, output })
}

/// A client that writes down what it is told, and answers questions when the test does.
#[derive(Default)]
struct Notes {
    told: Mutex<Vec<String>>,
    asked: Mutex<Vec<Pending>>,
}

/// A question that waits for the test's answer.
struct Pending {
    text: String,
    answer: oneshot::Sender<Reply>,
}

impl Notes {
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// The oldest open question, once there is one.
    async fn question(&self) -> Pending {
        loop {
            let first = {
                let mut asked = self.asked.lock().unwrap();
                (!asked.is_empty()).then(|| asked.remove(0))
            };
            match first {
                Some(pending) => return pending,
                None => tokio::task::yield_now().await,
            }
        }
    }

    fn is_unasked(&self) -> bool {
        self.asked.lock().unwrap().is_empty()
    }

    fn note(&self, method: Method, params: &Params) -> Asked {
        let params = String::from_utf8(params.to_bytes().to_vec()).unwrap();
        let (answer, answered) = oneshot::channel();
        self.asked.lock().unwrap().push(Pending {
            text: format!("{method} {params}"),
            answer,
        });
        Box::pin(async {
            answered
                .await
                .map_err(|_| Error::new(ErrorKind::Cancelled, "the client is gone"))
        })
    }
}

impl ClientPort for Notes {
    fn notify(&self, message: Interim) -> bool {
        let params = String::from_utf8(message.params.to_bytes().to_vec()).unwrap();
        self.told.lock().unwrap().push(format!("{} {params}", message.method));
        true
    }

    fn ask(&self, method: Method, params: Params) -> Asked {
        self.note(method, &params)
    }
}

fn tool_call(params: &str) -> Call {
    Call::new(Method::ToolsCall).with_params(Params::parse(params.to_owned()).unwrap())
}

fn of_session(key: u64) -> (Call, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let mut call = tool_call(r#"{"name":"t"}"#);
    call.client = ClientHandle::new(notes.clone());
    call.context.session = Some(Arc::new(Session {
        key: SessionKey(key),
        version: mcp_proxy_core::ProtocolVersion::LATEST_SESSION,
        declared: mcp_proxy_core::Declared::nothing(),
    }));
    (call, notes)
}

fn result(reply: Result<Reply, Error>) -> String {
    reply.unwrap().result().unwrap().as_str().to_owned()
}
