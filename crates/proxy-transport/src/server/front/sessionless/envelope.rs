//! [`Envelope`]: what a request says of itself, in its headers and in `_meta`, checked before anything runs.
//!
//! Headers repeat the body so that those on the way need not read it. Whoever reads both must refuse a request in which
//! they differ, else two readers would act on two different requests (MCP 2026-07-28, Transports, "Header Validation").

use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode};
use mcp_proxy_core::catalogue::{Mirror, decode_header};
use mcp_proxy_core::json::{RawJson, Request, Slot};
use mcp_proxy_core::{Declared, LogLevel, Method, ProtocolVersion, RpcError, codes};

use super::super::guard::single;
use super::super::respond::PROTOCOL_VERSION;
use super::{Refused, discover, keys, name_of};
use crate::server::App;

/// The header that names the method.
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The header that names the tool, prompt, resource or task.
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Most bytes of what a request says of its client: a stream keeps them as long as it lasts.
const MAX_BYTES: usize = 64 * 1024;

/// What a request says of its client.
pub(super) struct Envelope {
    pub(super) version: ProtocolVersion,
    pub(super) declared: Arc<Declared>,
    pub(super) log_level: Option<LogLevel>,
}

impl Envelope {
    /// Checks the headers against the body, where there are any, then what the body must hold.
    pub(super) fn check(headers: Option<&HeaderMap>, request: &Request, app: &dyn App) -> Result<Self, Refused> {
        let params = &request.params;
        let version = params.meta(keys::VERSION);
        let version = version.as_ref().and_then(RawJson::string);
        if let Some(headers) = headers {
            envelope_agrees(headers, request, version.as_deref())?;
        }
        let version = version.ok_or_else(|| missing(keys::VERSION))?;
        let capabilities = params.meta(keys::CAPABILITIES).filter(RawJson::is_object);
        let capabilities = capabilities.ok_or_else(|| missing(keys::CAPABILITIES))?;
        let client_info = params.meta(keys::CLIENT_INFO);
        let info_len = client_info.as_ref().map_or(0, |info| info.as_bytes().len());
        if capabilities.as_bytes().len() + info_len > MAX_BYTES {
            let message = "what `_meta` says of the client is larger than 65536 bytes";
            return Err(Refused::bad(codes::INVALID_PARAMS, message));
        }
        let version = ProtocolVersion::parse(&version)
            .filter(|version| version.is_sessionless())
            .ok_or_else(|| unsupported(&version))?;
        let log_level = match params.meta(keys::LOG_LEVEL) {
            None => None,
            Some(level) => Some(level.string().as_deref().and_then(LogLevel::parse).ok_or_else(|| {
                let message = format!("`_meta[\"{}\"]` is no log level", keys::LOG_LEVEL);
                Refused::bad(codes::INVALID_PARAMS, &message)
            })?),
        };
        if let Some(headers) = headers
            && request.method == Method::ToolsCall
            && let Some(name) = params.string(Slot::Name)
            && let Some(tool) = app.tool(&name)
            && !tool.mirrors.is_empty()
        {
            repeated(headers, &tool.mirrors, params.value(Slot::Arguments))?;
        }
        Ok(Self {
            version,
            declared: Arc::new(Declared::new(capabilities, client_info)),
            log_level,
        })
    }
}

/// The headers name what the body does: its revision, its method, and what that is about.
fn envelope_agrees(headers: &HeaderMap, request: &Request, version: Option<&str>) -> Result<(), Refused> {
    match version {
        Some(version) => agree(headers, &PROTOCOL_VERSION, version)?,
        None => drop(required(headers, &PROTOCOL_VERSION)?),
    }
    agree(headers, &METHOD, request.method.as_str())?;
    match name_of(&request.method, &request.params) {
        Some(name) => agree(headers, &NAME, &name),
        None if super::name_slot(&request.method).is_some() && headers.contains_key(&NAME) => {
            Err(mismatch(&NAME, "names what the body does not"))
        }
        None => Ok(()),
    }
}

/// Arguments that the tool wants repeated stand in their headers, and nothing else does.
fn repeated(headers: &HeaderMap, mirrors: &[Mirror], arguments: Option<RawJson>) -> Result<(), Refused> {
    let arguments = arguments.unwrap_or_else(|| RawJson::from_static("{}"));
    for mirror in mirrors {
        let name = format!("mcp-param-{}", mirror.name);
        let Ok(name) = HeaderName::try_from(name) else {
            continue;
        };
        if mirror.value(&arguments).is_none() {
            if headers.contains_key(&name) {
                return Err(mismatch(&name, "repeats an argument that is not there"));
            }
            continue;
        }
        let value = required(headers, &name)?;
        let value = decode_header(value).ok_or_else(|| mismatch(&name, BROKEN))?;
        if !mirror.agrees(&value, &arguments) {
            return Err(mismatch(&name, DIFFERS));
        }
    }
    Ok(())
}

/// The header is there and says `expected`.
fn agree(headers: &HeaderMap, name: &HeaderName, expected: &str) -> Result<(), Refused> {
    let value = required(headers, name)?;
    match decode_header(value) {
        None => Err(mismatch(name, BROKEN)),
        Some(value) if value == expected => Ok(()),
        Some(_) => Err(mismatch(name, DIFFERS)),
    }
}

/// The one value of a header, without white space around it.
fn required<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Refused> {
    match single(headers, name) {
        Ok(Some(value)) => match value.to_str() {
            Ok(value) => Ok(value.trim_matches([' ', '\t'])),
            Err(_) => Err(mismatch(name, "has characters that a header cannot carry")),
        },
        Ok(None) => Err(mismatch(name, "is missing")),
        Err(_) => Err(mismatch(name, "stands there more than once")),
    }
}

const BROKEN: &str = "is no valid Base64";
const DIFFERS: &str = "does not agree with the body";

fn mismatch(name: &HeaderName, fault: &str) -> Refused {
    Refused::bad(codes::HEADER_MISMATCH, &format!("the header `{name}` {fault}"))
}

fn missing(key: &str) -> Refused {
    let message = format!("`_meta[\"{key}\"]` is missing or malformed");
    Refused::bad(codes::INVALID_PARAMS, &message)
}

fn unsupported(requested: &str) -> Refused {
    let data = serde_json::json!({ "supported": discover::supported(), "requested": requested });
    let message = "this revision is not served here";
    let error = RpcError::with_data(codes::UNSUPPORTED_PROTOCOL_VERSION, message, &data);
    Refused::new(StatusCode::BAD_REQUEST, error)
}
