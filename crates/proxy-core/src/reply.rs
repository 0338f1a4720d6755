//! [`Reply`]: what travels back.

use crate::json::RawJson;

/// The answer of a backend, or of the proxy in its place.
///
/// A JSON-RPC error is an answer too: the backend is up and has decided. What the proxy itself could not do is an
/// [`Error`](crate::Error).
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The `result` member.
    Result(RawJson),
    /// The `error` member.
    Error(RpcError),
}

/// A JSON-RPC error object. The text is kept whole: `data` and unknown members survive.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    code: i64,
    raw: RawJson,
}

impl RpcError {
    /// An error of our own: `code`, one sentence, no data.
    pub fn new(code: i64, message: &str) -> Self {
        Self::build::<()>(code, message, None)
    }

    /// An error of our own with `data`.
    pub fn with_data<D: serde::Serialize + ?Sized>(code: i64, message: &str, data: &D) -> Self {
        Self::build(code, message, Some(data))
    }

    /// Takes an error object of a peer; `None` when it is no object with an integer `code`.
    pub fn from_raw(raw: RawJson) -> Option<Self> {
        let code = raw.get("code")?.decode().ok()?;
        Some(Self { code, raw })
    }

    /// The error code.
    pub fn code(&self) -> i64 {
        self.code
    }

    /// The message; empty when the peer sent none.
    pub fn message(&self) -> String {
        self.raw
            .get("message")
            .and_then(|message| message.string().map(Into::into))
            .unwrap_or_default()
    }

    /// The whole error object.
    pub fn raw(&self) -> &RawJson {
        &self.raw
    }

    fn build<D: serde::Serialize + ?Sized>(code: i64, message: &str, data: Option<&D>) -> Self {
        #[derive(serde::Serialize)]
        struct Object<'a, D: ?Sized> {
            code: i64,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a D>,
        }
        Self {
            code,
            raw: RawJson::encode(&Object { code, message, data }),
        }
    }
}

impl Reply {
    /// An error of our own.
    pub fn error(code: i64, message: &str) -> Self {
        Self::Error(RpcError::new(code, message))
    }

    /// The result, if it is one.
    pub fn result(&self) -> Option<&RawJson> {
        match self {
            Self::Result(result) => Some(result),
            Self::Error(_) => None,
        }
    }
}
