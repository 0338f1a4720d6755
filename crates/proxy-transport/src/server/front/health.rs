//! `/livez`, `/readyz` and `/health`: for those who start, restart and watch us. They tell nothing secret, so `Host` is
//! not checked: probes address servers by whatever name they have.

use http::{Method, Response, StatusCode};
use serde_json::json;

use super::Inner;
use super::answer::Answer;
use super::body::FrontBody;
use super::respond;

/// A page about our own state.
#[derive(Clone, Copy, Debug)]
pub(super) enum Page {
    /// The process answers.
    Live,
    /// It serves all it should; 503 otherwise, with what is missing.
    Ready,
    /// The same, for people: always 200.
    Health,
}

impl Page {
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/health" => Self::Health,
            _ => return None,
        })
    }

    pub(super) fn answer(self, front: &Inner, method: &Method) -> Response<FrontBody> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return respond::method_not_allowed("GET, HEAD", "this page can only be read");
        }
        let mut missing = match self {
            Self::Live => Vec::new(),
            Self::Ready | Self::Health => front.app.missing(),
        };
        if front.is_draining() && !matches!(self, Self::Live) {
            missing.push("the proxy is shutting down".to_owned());
        }
        let status = match (self, missing.is_empty()) {
            (Self::Live, _) => "alive",
            (Self::Ready, true) => "ready",
            (Self::Ready, false) => "not ready",
            (Self::Health, true) => "healthy",
            (Self::Health, false) => "degraded",
        };
        let text = json!({ "status": status, "missing": missing }).to_string();
        let mut response = respond::json(Answer::text(text));
        if matches!(self, Self::Ready) && !missing.is_empty() {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}
