//! The backend over Streamable HTTP: hyper's HTTP/1 server and nothing above it.
//!
//! POST is answered with JSON, GET with 405 (it has nothing to push), notifications with 202.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::BackendArguments;
use super::answer::{Answer, Answers};
use super::body::Pieces;

/// Serves on 127.0.0.1 until stdin ends, or for ever if detached.
///
/// # Errors
/// When the port cannot be bound or the address file not written.
pub(crate) fn serve(arguments: &BackendArguments, answers: Answers) -> anyhow::Result<()> {
    let runtime = if arguments.workers <= 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?
    } else {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(arguments.workers)
            .enable_all()
            .build()?
    };
    let outcome = runtime.block_on(accept(arguments, Arc::new(answers)));
    // A read of stdin may still wait on a thread of its own; nothing is lost by leaving it.
    runtime.shutdown_background();
    outcome
}

async fn accept(arguments: &BackendArguments, answers: Arc<Answers>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", arguments.port))
        .await
        .with_context(|| {
            format!(
                "cannot listen on 127.0.0.1:{}; choose another --port, or 0",
                arguments.port
            )
        })?;
    let address = listener.local_addr()?;
    if let Some(path) = &arguments.address_file {
        // Written beside and renamed, so that a reader never sees half an address.
        let draft = path.with_extension("part");
        std::fs::write(&draft, address.to_string())
            .and_then(|()| std::fs::rename(&draft, path))
            .with_context(|| {
                format!(
                    "cannot write the address to {}; is its folder there and writable?",
                    path.display()
                )
            })?;
    }
    println!("listening http://{address}/mcp");

    let mut connections = JoinSet::new();
    let parent = parent_gone(arguments.detached);
    tokio::pin!(parent);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                // An accept error is about one connection that is already gone.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve_connection(stream, Arc::clone(&answers)));
                }
            }
            Some(_) = connections.join_next() => {}
            () = &mut parent => return Ok(()),
        }
    }
}

async fn parent_gone(detached: bool) {
    if detached {
        return std::future::pending().await;
    }
    let mut nothing = [0; 64];
    let mut stdin = tokio::io::stdin();
    while matches!(stdin.read(&mut nothing).await, Ok(1..)) {}
}

async fn serve_connection(stream: TcpStream, answers: Arc<Answers>) {
    // An answer in two segments must not wait for the acknowledgement of the first; a socket that refuses is closing.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| respond(request, &answers));
    let connection = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(stream), service);
    // The peer closing, however rudely, is the normal end of a connection.
    let _ = connection.await;
}

async fn respond(request: Request<Incoming>, answers: &Answers) -> Result<Response<Pieces>, Infallible> {
    if request.method() != Method::POST {
        let ended = request.method() == Method::DELETE && answers.has_sessions();
        let status = if ended {
            StatusCode::OK
        } else {
            StatusCode::METHOD_NOT_ALLOWED
        };
        let mut response = empty(status);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(response);
    }
    let session = request.headers().get(&SESSION_ID).cloned();
    let Ok(body) = Limited::new(request.into_body(), LARGEST_REQUEST).collect().await else {
        return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let body = body.to_bytes();
    if answers.has_sessions() && memchr::memmem::find(&body, b"\"initialize\"").is_none() {
        let Some(session) = session else {
            return Ok(empty(StatusCode::BAD_REQUEST));
        };
        if !session.to_str().is_ok_and(|id| answers.knows_session(id)) {
            return Ok(empty(StatusCode::NOT_FOUND));
        }
    }
    Ok(match answers.answer(&body) {
        Answer::Reply { pieces, session } => {
            let mut response = Response::new(Pieces::new(pieces));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some(id) = session.and_then(|id| HeaderValue::from_maybe_shared(Bytes::from(id)).ok()) {
                response.headers_mut().insert(SESSION_ID, id);
            }
            response
        }
        Answer::Nothing => empty(StatusCode::ACCEPTED),
        Answer::Unreadable => empty(StatusCode::BAD_REQUEST),
    })
}

fn empty(status: StatusCode) -> Response<Pieces> {
    let mut response = Response::new(Pieces::default());
    *response.status_mut() = status;
    response
}

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const LARGEST_REQUEST: usize = 4 << 20;
const MOST_CONNECTIONS: usize = 16_384;
