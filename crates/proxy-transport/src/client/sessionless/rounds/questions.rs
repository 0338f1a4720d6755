//! The questions of one round, as a client with a session hears them.

use std::future::poll_fn;
use std::task::Poll;

use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{Asked, Call, Error, ErrorKind, Method, ProtocolVersion, Reply, RpcError, codes};

use super::strange;

/// Asks all of `inputRequests` at once and gives `inputResponses`. The inner error is the answer to the call when the
/// client would not or could not answer.
///
/// # Errors
/// `ServerFault` for questions that cannot be read, `Cancelled` when the client is gone.
pub(super) async fn ask(call: &Call, requests: &RawJson) -> Result<Result<RawJson, Reply>, Error> {
    let requests = requests.members();
    if requests.is_empty() || requests.len() > MAX_QUESTIONS {
        return Err(strange("its `inputRequests` are none, or too many"));
    }
    let mut open = Vec::with_capacity(requests.len());
    for (key, request) in requests {
        let (method, params) = question(call, &request)?;
        if let Err(missing) = call.context.declared.allows(call.context.version, &method, &params) {
            return Ok(Err(unanswered(call, undeclared(&method, &missing))));
        }
        match call.client.ask(method.clone(), params) {
            Some(asked) => open.push(Open {
                key,
                method,
                asked: Some(asked),
                answer: None,
            }),
            None => return Ok(Err(unanswered(call, unreachable(&method)))),
        }
    }
    let refused = answers(&mut open).await;
    if let Some((method, refused)) = refused {
        return match refused {
            Ok(error) => Ok(Err(unanswered(call, Refusal { method, error }))),
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            Err(error) => Ok(Err(unanswered(
                call,
                Refusal {
                    method,
                    error: error.to_rpc(),
                },
            ))),
        };
    }
    let nothing = RawJson::from_static("{}");
    // Members are put in front, so the last comes first.
    Ok(Ok(open.iter().rev().fold(nothing, |all, question| {
        match &question.answer {
            Some(answer) => all.with(&question.key, answer),
            None => all,
        }
    })))
}

/// A question that the client has been asked.
struct Open {
    key: String,
    method: Method,
    /// `None` once it was answered.
    asked: Option<Asked>,
    answer: Option<RawJson>,
}

/// Why the client did not answer.
struct Refusal {
    method: Method,
    error: RpcError,
}

/// Waits until all are answered, or for the first that is not going to be; the others are withdrawn with `open`.
async fn answers(open: &mut [Open]) -> Option<(Method, Result<RpcError, Error>)> {
    poll_fn(|cx| {
        let mut waiting = false;
        for question in open.iter_mut() {
            let Some(asked) = &mut question.asked else { continue };
            let refused = match asked.as_mut().poll(cx) {
                Poll::Pending => {
                    waiting = true;
                    continue;
                }
                Poll::Ready(Ok(Reply::Result(answer))) => {
                    (question.asked, question.answer) = (None, Some(answer));
                    continue;
                }
                Poll::Ready(Ok(Reply::Error(error))) => Ok(error),
                Poll::Ready(Err(error)) => Err(error),
            };
            return Poll::Ready(Some((question.method.clone(), refused)));
        }
        if waiting { Poll::Pending } else { Poll::Ready(None) }
    })
    .await
}

fn question(call: &Call, request: &RawJson) -> Result<(Method, Params), Error> {
    let method = request.get("method");
    let method = method.as_ref().and_then(RawJson::string);
    let Some(method) = method.as_deref().map(Method::from) else {
        return Err(strange("a question has no method"));
    };
    let Some(params) = request.get("params") else {
        return Ok((method, Params::absent()));
    };
    let params = with_elicitation_id(call.context.version, &method, params);
    match Params::parse(params.as_bytes().clone()) {
        Ok(params) => Ok((method, params)),
        Err(error) => Err(strange("the params of a question cannot be read").caused_by(error)),
    }
}

/// 2025-11-25 wants an id for what is to be done at a URL; the next revision has none. Nothing refers to it later, so
/// any will do that no other has.
fn with_elicitation_id(version: ProtocolVersion, method: &Method, params: RawJson) -> RawJson {
    let by_url = || {
        params
            .get("mode")
            .is_some_and(|mode| mode.string().as_deref() == Some("url"))
    };
    if version != ProtocolVersion::V2025_11_25
        || *method != Method::Elicit
        || !by_url()
        || params.get("elicitationId").is_some()
    {
        return params;
    }
    let mut bytes = [0; 16];
    // Without randomness ids may repeat, which nobody but the client's display would notice.
    let _ = getrandom::fill(&mut bytes);
    let id = u128::from_be_bytes(bytes);
    params.with("elicitationId", &RawJson::encode(&format!("{id:032x}")))
}

/// What the call comes to: a tool's result that says so to the model, or the error.
fn unanswered(call: &Call, refusal: Refusal) -> Reply {
    if call.method != Method::ToolsCall {
        return Reply::Error(refusal.error);
    }
    failed(&format!(
        "The tool asked its client for `{}` and got no answer: {}",
        refusal.method,
        refusal.error.message()
    ))
}

/// What the call comes to when the backend would have asked, had the client declared that it can be. The code for that
/// is one that a client with a session does not know.
pub(super) fn lacking(call: &Call, error: &RpcError) -> Reply {
    let data = error.raw().get("data");
    if call.method == Method::ToolsCall {
        let needed = data.and_then(|data| data.get("requiredCapabilities"));
        let needed = needed.as_ref().map_or("something", RawJson::as_str);
        return failed(&format!("The tool needs a client that can do more: {needed}"));
    }
    Reply::Error(RpcError::with_data(codes::INVALID_REQUEST, &error.message(), &data))
}

/// A tool's result that tells the model what went wrong.
fn failed(sentence: &str) -> Reply {
    Reply::Result(RawJson::encode(&serde_json::json!({
        "content": [{ "type": "text", "text": sentence }],
        "isError": true,
    })))
}

fn undeclared(method: &Method, missing: &RawJson) -> Refusal {
    let message = format!("the client did not declare that it can be asked for `{method}`");
    let data = serde_json::json!({ "requiredCapabilities": missing });
    Refusal {
        method: method.clone(),
        error: RpcError::with_data(codes::INVALID_REQUEST, &message, &data),
    }
}

fn unreachable(method: &Method) -> Refusal {
    Refusal {
        method: method.clone(),
        error: RpcError::new(codes::INVALID_REQUEST, "there is no client to ask"),
    }
}

/// Questions of one round.
const MAX_QUESTIONS: usize = 64;
