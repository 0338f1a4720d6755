//! One call, in as many rounds as it takes (MCP 2026-07-28, "Multi Round-Trip Requests").
//!
//! ```text
//!   dressed call ──► send ──► complete ─────────────────────────► result, shed of what this era added
//!        ▲                 └► input_required ──► questions to the client
//!        └──── inputResponses, requestState ◄──────────┘
//! ```
//!
//! A client of this era makes the rounds itself, and gets every result as it is. For a client with a session they are
//! made here: the backend's questions go to it as requests, and the call is sent again with its answers.

mod questions;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Duration;

use mcp_proxy_core::json::{Params, RawJson, Slot};
use mcp_proxy_core::{Call, Error, ErrorKind, Method, Reply, codes};

use super::result::{self, Kind};
use super::{Manner, meta};

/// Makes a call. `send` sends its method with the params it is given, each time under a new id, and waits for the answer.
///
/// # Errors
/// Those of `send`, and `ServerFault` for a backend that keeps asking or asks what nobody can read.
///
/// # Cancel safety
/// Dropping the future drops what is being sent or asked.
pub(crate) async fn converse<F>(manner: Manner, call: &Call, mut send: impl FnMut(Params) -> F) -> Result<Reply, Error>
where
    F: Future<Output = Result<Reply, Error>>,
{
    if call.method == Method::SetLevel {
        // Each request says itself which log it wants.
        return Ok(Reply::Result(RawJson::from_static("{}")));
    }
    let dressed = meta::dress(manner, call);
    if call.context.version.is_sessionless() {
        let reply = send(dressed).await?;
        if let Reply::Result(result) = &reply {
            result::kind(call, result)?;
        }
        return Ok(reply);
    }
    let mut params = dressed.clone();
    for round in 0..MAX_ROUNDS {
        let result = match send(params).await? {
            Reply::Result(result) => result,
            Reply::Error(error) if error.code() == codes::MISSING_CLIENT_CAPABILITY => {
                return Ok(questions::lacking(call, &error));
            }
            Reply::Error(error) => return Ok(Reply::Error(result::error(call, error))),
        };
        if result::kind(call, &result)? != Kind::InputRequired {
            return Ok(Reply::Result(result::shed(call, &result)));
        }
        let state = result.get("requestState");
        let answers = match result.get("inputRequests") {
            Some(requests) => match questions::ask(call, &requests).await? {
                Ok(answers) => Some(answers),
                Err(unanswered) => return Ok(unanswered),
            },
            None if state.is_some() => {
                // It asks for nothing but to be asked again: a way of shedding load.
                tokio::time::sleep(pause(round)).await;
                None
            }
            None => return Err(strange("it asks for input without saying which")),
        };
        params = again(&dressed, answers.as_ref(), state.as_ref())?;
    }
    Err(strange("it asks for input again and again"))
}

/// The params of the next round. Answers are those of this round only, and a state is handed back to the byte or, where
/// none was given, not at all.
fn again(dressed: &Params, answers: Option<&RawJson>, state: Option<&RawJson>) -> Result<Params, Error> {
    let mut params = dressed.clone();
    params.remove(&["inputResponses", "requestState"]);
    if let Some(state) = state {
        if state.string().is_none() {
            return Err(strange("its `requestState` is no string"));
        }
        params.set(Slot::RequestState, state);
    }
    if let Some(answers) = answers {
        params.set(Slot::InputResponses, answers);
    }
    Ok(params)
}

fn strange(what: &str) -> Error {
    Error::new(
        ErrorKind::ServerFault,
        "the backend asks for input in a way that leads nowhere",
    )
    .caused_by(what)
}

/// The pause before a round without questions: none at first.
fn pause(round: u32) -> Duration {
    match round {
        0 => Duration::ZERO,
        _ => SHORT_PAUSE * 2_u32.pow(round.min(6)),
    }
}

/// Rounds of one call.
const MAX_ROUNDS: u32 = 8;

const SHORT_PAUSE: Duration = Duration::from_millis(25);
