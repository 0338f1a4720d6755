//! [`Questions`]: what backends ask of a sessionless client during one of its calls.
//!
//! Such a client takes no requests. The response to its own ends with `input_required`, and its next request brings the
//! answers (MCP 2026-07-28, "Multi Round-Trip Requests"). Meanwhile the backend's questions stay open here, each under a
//! key of ours; a question that its backend no longer waits for is forgotten.

use std::sync::{Arc, Mutex};

use mcp_proxy_core::json::{Params, RawJson, Slot};
use mcp_proxy_core::{Asked, Context, Declared, Error, ErrorKind, Interim, LogLevel, Method, Reply};
use tokio::sync::oneshot;

use super::sessionless::Subject;
use super::{ask, lock};

/// Most questions of one call that are open at a time.
const MAX_OPEN: usize = 64;

/// The open questions of one call.
pub(super) struct Questions {
    /// What the call is about.
    pub(super) subject: Subject,
    state: Mutex<State>,
}

struct State {
    present: Present,
    open: Vec<Question>,
    /// How many were asked so far.
    asked: u32,
    lacking: Option<RawJson>,
    over: bool,
}

/// What the request said that is being answered now: each round of a call has one of its own.
pub(super) struct Present {
    pub(super) declared: Arc<Declared>,
    pub(super) log_level: Option<LogLevel>,
    /// Its progress token, where it is not the one that the call began with.
    pub(super) token: Option<Token>,
}

/// The progress token of a request; none, if it wants to hear nothing.
pub(super) struct Token(pub(super) Option<RawJson>);

struct Question {
    number: u32,
    method: Method,
    params: Params,
    /// The client has been asked.
    sent: bool,
    answer: oneshot::Sender<Reply>,
}

impl Question {
    fn key(&self) -> String {
        format!("question-{}", self.number)
    }
}

/// Why a response ends before its call does.
pub(super) enum Interruption {
    /// The call needs capabilities that its client did not declare.
    Lacking(RawJson),
    /// The client is asked: the text of `inputRequests`.
    Asked(Vec<u8>),
}

impl Questions {
    /// Of a call in which nothing has been asked.
    pub(super) fn new(subject: Subject, context: &Context) -> Self {
        let present = Present {
            declared: context.declared.clone(),
            log_level: context.log_level,
            token: None,
        };
        let state = State {
            present,
            open: Vec::new(),
            asked: 0,
            lacking: None,
            over: false,
        };
        Self {
            subject,
            state: Mutex::new(state),
        }
    }

    /// Adds a question, if the client may be asked it. Whoever answers the client's request is to be woken.
    pub(super) fn ask(&self, method: Method, mut params: Params) -> Asked {
        let mut state = lock(&self.state);
        if state.over {
            return ask::unasked(ask::gone("the call has ended"));
        }
        if let Err(missing) = state.present.declared.allows(self.subject.version, &method, &params) {
            // `{}` is what no client could declare: the backend's mistake.
            if !missing.members().is_empty() {
                state.lacking.get_or_insert(missing);
            }
            return Box::pin(std::future::ready(Ok(ask::undeclared())));
        }
        // Elsewhere the era knows no way to ask.
        if !self.subject.is_interruptible() {
            return Box::pin(std::future::ready(Ok(ask::undeclared())));
        }
        state.open.retain(|question| !question.answer.is_closed());
        if state.open.len() >= MAX_OPEN {
            return ask::unasked(Error::new(ErrorKind::Overloaded, "too many questions are open"));
        }
        // This revision has no such member.
        params.remove(&["elicitationId"]);
        state.asked += 1;
        let (answer, answered) = oneshot::channel();
        let number = state.asked;
        state.open.push(Question {
            number,
            method,
            params,
            sent: false,
            answer,
        });
        Box::pin(async move { answered.await.map_err(|_| ask::gone("the client has not answered")) })
    }

    /// Whether the response must end here. A second look finds only what is new.
    pub(super) fn interruption(&self) -> Option<Interruption> {
        let mut state = lock(&self.state);
        if let Some(missing) = state.lacking.take() {
            return Some(Interruption::Lacking(missing));
        }
        state.open.retain(|question| !question.answer.is_closed());
        if !state.open.iter().any(|question| !question.sent) {
            return None;
        }
        let mut requests = vec![b'{'];
        for question in &mut state.open {
            question.sent = true;
            if requests.len() > 1 {
                requests.push(b',');
            }
            requests.extend_from_slice(RawJson::encode(&question.key()).as_bytes());
            requests.extend_from_slice(br#":{"method":"#);
            requests.extend_from_slice(RawJson::encode(question.method.as_str()).as_bytes());
            if !question.params.is_absent() {
                requests.extend_from_slice(br#","params":"#);
                question.params.write(&mut requests);
            }
            requests.push(b'}');
        }
        requests.push(b'}');
        Some(Interruption::Asked(requests))
    }

    /// Hands the client's answers to those who asked. What is missing will be asked again, what nobody asked is ignored.
    ///
    /// # Errors
    /// An answer that can be none. Nothing was handed over.
    pub(super) fn answer(&self, answers: Option<&RawJson>, present: Present) -> Result<(), &'static str> {
        let nothing = RawJson::from_static("{}");
        let answers = answers.unwrap_or(&nothing);
        if !answers.is_object() {
            return Err("`inputResponses` must be an object");
        }
        let mut state = lock(&self.state);
        let answers: Vec<_> = state.open.iter().map(|question| answers.get(&question.key())).collect();
        if answers.iter().flatten().any(|answer| !answer.is_object()) {
            return Err("each of `inputResponses` must be an object");
        }
        let mut unanswered = Vec::new();
        for (mut question, answer) in std::mem::take(&mut state.open).into_iter().zip(answers) {
            match answer {
                // The buffer of the request should not live as long as the call.
                Some(answer) => drop(question.answer.send(Reply::Result(answer.detached()))),
                None => {
                    let allowed = present
                        .declared
                        .allows(self.subject.version, &question.method, &question.params);
                    if let Err(missing) = allowed {
                        state.lacking.get_or_insert(missing);
                    }
                    question.sent = false;
                    unanswered.push(question);
                }
            }
        }
        state.open = unanswered;
        state.present = present;
        Ok(())
    }

    /// The call is over: nobody will be asked any more, and who waits for an answer waits no longer.
    pub(super) fn close(&self) {
        let open = {
            let mut state = lock(&self.state);
            state.over = true;
            std::mem::take(&mut state.open)
        };
        drop(open);
    }

    /// An interim message as the request that is being answered now may read it: log messages as far as it wants them,
    /// progress under its own token, and nothing that has streams of its own.
    pub(super) fn admit(&self, mut message: Interim) -> Option<Interim> {
        match message.method {
            Method::LogMessage => {
                let level = message.params.string(Slot::Level);
                let level = level.as_deref().and_then(LogLevel::parse);
                let least = lock(&self.state).present.log_level?;
                level.is_none_or(|level| level >= least).then_some(message)
            }
            Method::Progress => {
                match &lock(&self.state).present.token {
                    None => {}
                    Some(Token(None)) => return None,
                    Some(Token(Some(token))) => {
                        if let Some(params) = message.params.to_raw() {
                            let params = params.with("progressToken", token);
                            message.params = Params::parse(params.as_bytes().clone()).ok()?;
                        }
                    }
                }
                Some(message)
            }
            Method::ToolsChanged
            | Method::PromptsChanged
            | Method::ResourcesChanged
            | Method::ResourceUpdated
            | Method::RootsChanged
            | Method::ElicitationComplete
            | Method::TaskStatus
            | Method::TaskChanged
            | Method::Cancelled => None,
            _ => Some(message),
        }
    }

    /// What the request that is being answered now has declared.
    pub(super) fn declared(&self) -> Arc<Declared> {
        lock(&self.state).present.declared.clone()
    }
}
