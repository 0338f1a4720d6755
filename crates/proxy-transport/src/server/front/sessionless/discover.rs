//! `server/discover`: what the proxy is and can do, said without opening anything.

use std::sync::OnceLock;

use bytes::Bytes;
use mcp_proxy_core::json::{RawJson, RequestId};
use mcp_proxy_core::{ProtocolVersion, Reply};

use super::super::Inner;
use super::super::answer::Answer;
use super::keys;
use crate::server::App;

/// The revisions of this era that are served, oldest first.
pub(super) fn supported() -> [&'static str; 1] {
    ProtocolVersion::SESSIONLESS.map(ProtocolVersion::as_str)
}

/// What every result of this era says of the server, written once.
#[derive(Default)]
pub(in super::super) struct About(OnceLock<Bytes>);

impl About {
    /// `"io.modelcontextprotocol/serverInfo":{…}`, to be put into a `_meta`.
    pub(super) fn member(&self, app: &dyn App) -> &Bytes {
        self.0.get_or_init(|| {
            let info = app.welcome(ProtocolVersion::LATEST_SESSIONLESS).server_info;
            let key = RawJson::encode(keys::SERVER_INFO);
            [key.as_bytes(), &b":"[..], info.as_bytes()].concat().into()
        })
    }
}

/// Answers the request `id`. Capabilities change with the backends, so the answer promises to hold for no time.
pub(super) fn answer(front: &Inner, id: &RequestId) -> Answer {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Discovered<'a> {
        result_type: &'static str,
        supported_versions: [&'static str; 1],
        capabilities: &'a RawJson,
        #[serde(skip_serializing_if = "Option::is_none")]
        instructions: Option<&'a str>,
        ttl_ms: u32,
        cache_scope: &'static str,
        #[serde(rename = "_meta")]
        meta: Meta<'a>,
    }
    #[derive(serde::Serialize)]
    struct Meta<'a> {
        #[serde(rename = "io.modelcontextprotocol/serverInfo")]
        server_info: &'a RawJson,
    }
    let welcome = front.app.welcome(ProtocolVersion::LATEST_SESSIONLESS);
    let result = RawJson::encode(&Discovered {
        result_type: "complete",
        supported_versions: supported(),
        capabilities: &welcome.capabilities,
        instructions: welcome.instructions.as_deref(),
        ttl_ms: 0,
        cache_scope: "private",
        meta: Meta {
            server_info: &welcome.server_info,
        },
    });
    Answer::new(Some(id), Ok(Reply::Result(result)))
}
