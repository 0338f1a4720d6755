//! Rounds: a response that ends with questions, and the request that brings the answers.
//!
//! A `requestState` of ours begins with [`OURS`]. A backend's own goes through unchanged, unless it looks like ours (a
//! backend may be such a proxy too): then it travels behind a mark of its own, which is taken off again on the way back.

use std::sync::Arc;

use mcp_proxy_core::json::{Params, RawJson, Request, RequestId, Slot};
use mcp_proxy_core::{Context, Method, RpcError, codes};

use super::super::Inner;
use super::super::answer::Answer;
use super::super::questions::{Present, Questions, Token};
use super::super::running::Running;
use super::super::state::CallState;
use super::dress::{Subject, refused};
use super::seal::Ticket;
use super::suspended::Suspended;

/// How every state begins that this program makes.
const OURS: &str = "mcp-proxy.";
/// How one begins that names a call of this process.
const SEALED: &str = "mcp-proxy.s.";
/// How one begins that a backend made, and that is to go back to it without this.
const PASSED: &str = "mcp-proxy.p.";

/// Suspends a call and writes the response that asks its client.
///
/// # Errors
/// The answer when it cannot be suspended. The call is to be ended.
pub(in super::super) fn suspend(
    call: &Arc<CallState>,
    held: &mut Option<Arc<Suspended>>,
    questions: &Questions,
    id: &RequestId,
    requests: &[u8],
) -> Result<Answer, Answer> {
    let (front, subject) = (call.front(), &questions.subject);
    let state = front
        .suspensions
        .suspend(front, call, held, &subject.principal, &subject.bound());
    match state {
        Ok(state) => Ok(input_required(front, id, requests, &state)),
        Err(error) => Err(refused(id, &error)),
    }
}

/// The answer to a request that did not declare what its call needs.
pub(in super::super) fn lacking(id: &RequestId, missing: &RawJson) -> Answer {
    refused(id, &self::missing(missing))
}

/// The error that names the missing capabilities.
pub(super) fn missing(capabilities: &RawJson) -> RpcError {
    let data = std::collections::BTreeMap::from([("requiredCapabilities", capabilities)]);
    let message = "the call needs capabilities that the client did not declare";
    RpcError::with_data(codes::MISSING_CLIENT_CAPABILITY, message, &data)
}

/// A refusal of the session era that sends the user to URLs first, as a round: the retry runs the call again.
pub(super) fn by_url(front: &Inner, id: &RequestId, questions: &Questions, error: &RpcError) -> Option<Answer> {
    let subject = &questions.subject;
    if error.code() != codes::URL_ELICITATION_REQUIRED || !subject.is_interruptible() {
        return None;
    }
    let elicitations = error.raw().get("data")?.get("elicitations")?.elements();
    let mut requests = vec![b'{'];
    for (at, elicitation) in elicitations.iter().filter(|one| one.is_object()).enumerate() {
        let elicitation = elicitation.without(&["elicitationId"]);
        let elicitation = elicitation.with("mode", &RawJson::from_static(r#""url""#));
        let params = Params::parse(elicitation.as_bytes().clone()).ok()?;
        if let Err(missing) = questions.declared().allows(subject.version, &Method::Elicit, &params) {
            return Some(lacking(id, &missing));
        }
        if at > 0 {
            requests.push(b',');
        }
        requests.extend_from_slice(format!(r#""url-{}":{{"method":"elicitation/create","params":"#, at + 1).as_bytes());
        params.write(&mut requests);
        requests.push(b'}');
    }
    requests.push(b'}');
    if requests.len() == 2 {
        return None;
    }
    let state = front.suspensions.again(front, &subject.bound())?;
    Some(input_required(front, id, &requests, &state))
}

fn input_required(front: &Inner, id: &RequestId, requests: &[u8], state: &str) -> Answer {
    let state = RawJson::encode(&format!("{SEALED}{state}"));
    let text = [
        br#"{"resultType":"input_required","inputRequests":"#,
        requests,
        br#","requestState":"#,
        state.as_bytes(),
        br#","_meta":{"#,
        front.about.member(&*front.app),
        b"}}",
    ]
    .concat();
    Answer::result(Some(id), b"", text.into(), b"")
}

/// A backend's state as the client is to see it; `None` when it may stay as it is.
pub(super) fn marked(state: &RawJson) -> Option<RawJson> {
    let state = state.string()?;
    state
        .starts_with(OURS)
        .then(|| RawJson::encode(&format!("{PASSED}{state}")))
}

/// What a request that may be a retry turns out to be.
pub(super) enum Retry {
    /// A request like any other.
    Fresh(Request),
    /// It goes on with its call.
    Resumed(Running),
    /// It cannot.
    Refused(RequestId, RpcError),
}

/// Looks at the state that a request brings.
pub(super) fn resume(front: &Arc<Inner>, mut request: Request, context: &Context, interim: bool) -> Retry {
    let state = match request.params.string(Slot::RequestState) {
        Some(state) if state.starts_with(OURS) => state.into_owned(),
        _ => return Retry::Fresh(request),
    };
    if let Some(state) = state.strip_prefix(PASSED) {
        request.params.set_string(Slot::RequestState, state);
        return Retry::Fresh(request);
    }
    let subject = Subject::new(&request.method, &request.params, context);
    let ticket = state
        .strip_prefix(SEALED)
        .and_then(|state| front.suspensions.open(state, &subject.bound()));
    let unknown = || {
        let message = "`requestState` is not one of this request, or no longer; make the call again without it";
        RpcError::new(codes::INVALID_PARAMS, message)
    };
    let (number, round) = match ticket {
        None => return Retry::Refused(request.id, unknown()),
        Some(Ticket::Again) => {
            request.params.remove(&["requestState", "inputResponses"]);
            return Retry::Fresh(request);
        }
        Some(Ticket::Call { number, round }) => (number, round),
    };
    let Some(held) = front.suspensions.find(number) else {
        return Retry::Refused(request.id, unknown());
    };
    let present = Present {
        declared: Arc::new(context.declared.detached()),
        log_level: context.log_level,
        token: Some(Token(
            request.params.value(Slot::ProgressToken).map(|token| token.detached()),
        )),
    };
    let answers = request.params.value(Slot::InputResponses);
    let call = held.call();
    let attached = held.attach(round, || {
        call.questions().map_or(Ok(()), |questions| {
            call.outbox().reopen(interim);
            let answered = questions.answer(answers.as_ref(), present);
            if answered.is_err() {
                call.outbox().close();
            }
            answered
        })
    });
    match attached {
        None => Retry::Refused(request.id, unknown()),
        Some(Err(message)) => Retry::Refused(request.id, RpcError::new(codes::INVALID_PARAMS, message)),
        Some(Ok(())) => Retry::Resumed(Running::resume(&held, request.id.detached())),
    }
}
