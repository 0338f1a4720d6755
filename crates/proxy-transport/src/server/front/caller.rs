//! [`Caller`]: on whose behalf a message came, told by its headers.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use mcp_proxy_core::{Context, Declared, ProtocolVersion, codes};

use super::Inner;
use super::guard::single;
use super::respond::{PROTOCOL_VERSION, Refusal, SESSION_ID};
use super::session::{Entry, Found};

/// Who sent a message, and in which revision.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) session: Option<Arc<Entry>>,
    pub(super) version: ProtocolVersion,
}

impl Caller {
    /// Finds the session. Unknown and expired ids are refused in the same words: nobody learns which ids once lived.
    pub(super) fn find(front: &Inner, headers: &HeaderMap) -> Result<Self, Refusal> {
        let bad = |message: &'static str| Refusal::new(StatusCode::BAD_REQUEST, codes::INVALID_REQUEST, message);
        let id = single(headers, &SESSION_ID).map_err(|_| bad("more than one `Mcp-Session-Id` header"))?;
        let session = match id {
            Some(id) => Some(Self::live(front, front.sessions.find(id))?),
            None if front.options.session.required => {
                return Err(bad(
                    "the `Mcp-Session-Id` header is missing; `initialize` opens a session and tells its id",
                ));
            }
            None => None,
        };
        let asked = match single(headers, &PROTOCOL_VERSION) {
            Ok(None) => None,
            Ok(Some(value)) => {
                let version = value.to_str().ok().and_then(ProtocolVersion::parse_session);
                Some(version.ok_or_else(|| bad("`MCP-Protocol-Version` names no revision that is served here"))?)
            }
            Err(_) => return Err(bad("more than one `MCP-Protocol-Version` header")),
        };
        let version = match &session {
            Some(entry) if asked.is_none_or(|asked| asked == entry.session.version) => entry.session.version,
            Some(_) => return Err(bad("`MCP-Protocol-Version` is not the revision of this session")),
            None => asked.unwrap_or_default(),
        };
        Ok(Self { session, version })
    }

    /// Finds the session of a request that makes no sense without one.
    pub(super) fn session(front: &Inner, headers: &HeaderMap) -> Result<Arc<Entry>, Refusal> {
        Self::find(front, headers)?.session.ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                codes::INVALID_REQUEST,
                "the `Mcp-Session-Id` header is missing",
            )
        })
    }

    /// What a call of this caller carries.
    pub(super) fn context(&self) -> Context {
        let session = self.session.as_ref().map(|entry| entry.session.clone());
        Context {
            declared: match &session {
                Some(session) => session.declared.clone(),
                None => Declared::nothing(),
            },
            log_level: self.session.as_ref().and_then(|entry| entry.log_level()),
            session,
            version: self.version,
            ..Context::default()
        }
    }

    fn live(front: &Inner, found: Found) -> Result<Arc<Entry>, Refusal> {
        match found {
            Found::Live(entry) => Ok(entry),
            Found::Expired(entry) => {
                front.end(&entry, super::state::Cause::SessionEnded);
                Err(unknown_session())
            }
            Found::Unknown => Err(unknown_session()),
        }
    }
}

/// The refusal of a session id that is unknown, whatever the reason.
pub(super) fn unknown_session() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        codes::SESSION_NOT_FOUND,
        "this session is unknown or has ended; open a new one with `initialize`",
    )
}
