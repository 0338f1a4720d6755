//! `server/discover`: which era a backend speaks, and what it says of itself.
//!
//! Asked first of every backend. A server that knows the method answers it, or refuses it by an error that only this era
//! has; anything else means that a session is to be opened. "Clients MUST NOT key on a single error code", since servers
//! of the session era refuse what they do not know in many ways.

use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{Declared, ProtocolVersion, Reply, codes};

use super::super::Hello;
use super::meta::{CAPABILITIES, CLIENT_INFO, SERVER_INFO, VERSION, proxy_info};

/// What an answer says of a backend.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It speaks this era.
    Sessionless(Box<Hello>),
    /// It wants a session, or a revision that only leaves that.
    Session,
}

/// What is asked with: the newest revision, and everything that the proxy can relay.
pub(crate) fn params() -> Params {
    let mut params = Params::absent();
    params.add_meta(&[
        (VERSION, &RawJson::encode(ProtocolVersion::LATEST_SESSIONLESS.as_str())),
        (CAPABILITIES, &Declared::everything().upward()),
        (CLIENT_INFO, &proxy_info()),
    ]);
    params
}

/// Judges an answer.
pub(crate) fn judge(reply: &Reply) -> Verdict {
    match reply {
        Reply::Result(result) => match result.get("supportedVersions").as_ref().and_then(common) {
            Some(version) => Verdict::Sessionless(Box::new(hello(version, result))),
            None => Verdict::Session,
        },
        // It is of this era and will not say what it can do: its lists will.
        Reply::Error(error) if [codes::HEADER_MISMATCH, codes::MISSING_CLIENT_CAPABILITY].contains(&error.code()) => {
            Verdict::Sessionless(Box::new(assumed()))
        }
        // `UNSUPPORTED_PROTOCOL_VERSION` too: having refused the only revision of this era that we speak, it may still
        // have one with sessions.
        Reply::Error(_) => Verdict::Session,
    }
}

/// Whether it refused our revision and named one of this era that we speak: then the question is to be asked in that
/// one, once.
pub(crate) fn names_a_revision(reply: &Reply) -> bool {
    let Reply::Error(error) = reply else {
        return false;
    };
    let supported = error.raw().get("data").and_then(|data| data.get("supported"));
    error.code() == codes::UNSUPPORTED_PROTOCOL_VERSION && supported.as_ref().and_then(common).is_some()
}

/// The newest revision of this era that both sides speak.
fn common(supported: &RawJson) -> Option<ProtocolVersion> {
    let theirs = supported.elements();
    let has = |version: &ProtocolVersion| {
        let name = version.as_str();
        theirs
            .iter()
            .any(|supported| supported.string().as_deref() == Some(name))
    };
    ProtocolVersion::SESSIONLESS.into_iter().rev().find(has)
}

fn hello(version: ProtocolVersion, result: &RawJson) -> Hello {
    // Copies, since these are kept and the message is not.
    let capabilities = result.get("capabilities").filter(RawJson::is_object);
    let server_info = result.get("_meta").and_then(|meta| meta.get(SERVER_INFO));
    Hello {
        version,
        capabilities: capabilities.map_or_else(|| RawJson::from_static("{}"), |raw| raw.detached()),
        server_info: server_info.map(|raw| raw.detached()),
        instructions: result
            .get("instructions")
            .and_then(|raw| raw.string().map(|text| text.as_ref().into())),
    }
}

fn assumed() -> Hello {
    Hello {
        version: ProtocolVersion::LATEST_SESSIONLESS,
        capabilities: RawJson::from_static(r#"{"tools":{},"resources":{},"prompts":{}}"#),
        server_info: None,
        instructions: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(result: &str) -> Option<Hello> {
        match judge(&Reply::Result(RawJson::parse(result.to_owned()).unwrap())) {
            Verdict::Sessionless(hello) => Some(*hello),
            Verdict::Session => None,
        }
    }

    #[test]
    fn only_a_list_of_versions_proves_the_era() {
        let hello = judged(
            r#"{"supportedVersions":["2099-01-01","2026-07-28"],"capabilities":{"logging":{}},"instructions":"Be kind.",
                "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}"#,
        )
        .unwrap();
        assert_eq!(hello.version, ProtocolVersion::V2026_07_28);
        assert_eq!(hello.capabilities.as_str(), r#"{"logging":{}}"#);
        assert_eq!(hello.server_info.unwrap().as_str(), r#"{"name":"s"}"#);
        assert_eq!(hello.instructions.as_deref(), Some("Be kind."));
        for other in [
            "{}",
            r#"{"supportedVersions":"2026-07-28"}"#,
            r#"{"supportedVersions":["2025-11-25"]}"#,
            r#"{"protocolVersion":"2026-07-28"}"#,
        ] {
            assert!(judged(other).is_none(), "{other}");
        }
    }

    #[test]
    fn errors_of_this_era_prove_it_too() {
        for (code, sessionless) in [
            (-32020, true),
            (-32021, true),
            (-32022, false),
            (-32601, false),
            (-32600, false),
            (-32000, false),
        ] {
            let verdict = judge(&Reply::error(code, "no"));
            assert_eq!(matches!(verdict, Verdict::Sessionless(_)), sessionless, "{code}");
        }
    }

    #[test]
    fn a_refusal_may_name_the_revision_to_ask_in() {
        let refusal = |code, supported: &str| {
            let data = serde_json::json!({ "supported": [supported], "requested": "2026-07-28" });
            Reply::Error(mcp_proxy_core::RpcError::with_data(code, "no", &data))
        };
        assert!(names_a_revision(&refusal(-32022, "2026-07-28")));
        assert!(!names_a_revision(&refusal(-32022, "2025-11-25")));
        assert!(!names_a_revision(&refusal(-32602, "2026-07-28")));
        assert!(!names_a_revision(&Reply::error(-32022, "no")));
    }

    #[test]
    fn the_question_is_complete_in_itself() {
        let meta = params();
        for key in [VERSION, CAPABILITIES, CLIENT_INFO] {
            assert!(meta.meta(key).is_some(), "{key}");
        }
    }
}
