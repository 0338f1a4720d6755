//! From the bytes of one JSON-RPC message to the bytes of its answer, with as little work as honesty allows.
//!
//! The request is really parsed (a proxy may reorder members or respell the id), the answer is put together from
//! pieces made once: the long filler text and the list of tools are shared, never copied.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest text that `echo` answers with, in bytes.
const LARGEST_TEXT: usize = 8 << 20;

/// Everything that is made once and shared by all answers.
#[derive(Debug)]
pub(crate) struct Answers {
    filler: Bytes,
    tools: Bytes,
    sessions: Option<AtomicU64>,
    /// Whether results are those of the sessionless era.
    sessionless: bool,
}

/// What to send back for one message.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A JSON-RPC answer in up to three pieces, to be sent in order; `session` is a newly issued session id.
    Reply {
        pieces: [Bytes; 3],
        session: Option<String>,
    },
    /// The message was a notification: there is nothing to say.
    Nothing,
    /// Not a JSON-RPC message.
    Unreadable,
}

impl Answers {
    /// Prepares a server that lists `tools` tools and, if `sessions`, issues session ids, or, if `sessionless`, speaks
    /// 2026-07-28 and nothing else.
    pub(crate) fn new(tools: usize, sessions: bool, sessionless: bool) -> Self {
        Self {
            filler: FILLER.bytes().cycle().take(LARGEST_TEXT + FILLER.len()).collect(),
            tools: Bytes::from(tool_list(tools)),
            sessions: sessions.then(AtomicU64::default),
            sessionless,
        }
    }

    /// Whether requests need a session id, other than `initialize`.
    pub(crate) fn has_sessions(&self) -> bool {
        self.sessions.is_some()
    }

    /// Whether `id` was issued here.
    pub(crate) fn knows_session(&self, id: &str) -> bool {
        let number = id
            .strip_prefix(SESSION_PREFIX)
            .and_then(|number| u64::from_str_radix(number, 16).ok());
        matches!((number, &self.sessions), (Some(number), Some(issued)) if number < issued.load(Ordering::Relaxed))
    }

    /// Answers one message.
    pub(crate) fn answer(&self, message: &[u8]) -> Answer {
        let Ok(request) = serde_json::from_slice::<Request<'_>>(message) else {
            return Answer::Unreadable;
        };
        let Some(id) = request.id.map(RawValue::get) else {
            return Answer::Nothing;
        };
        let params = request.params.unwrap_or_default();
        let mut session = None;
        let pieces = match request.method {
            "tools/call" => self.echo(id, &params),
            "tools/list" if self.sessionless => [
                head(
                    id,
                    "{\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"public\",\"tools\":[",
                ),
                self.tools.clone(),
                Bytes::from_static(b"]}}"),
            ],
            "server/discover" if self.sessionless => whole(id, &format!("{{{DISCOVERED},{SERVER}}}")),
            "tools/list" => [head(id, "{\"tools\":["), self.tools.clone(), Bytes::from_static(b"]}}")],
            "initialize" if !self.sessionless => {
                session = self.sessions.as_ref().map(|issued| {
                    let number = issued.fetch_add(1, Ordering::Relaxed);
                    format!("{SESSION_PREFIX}{number:016x}")
                });
                let version = params
                    .protocol_version
                    .filter(|version| VERSIONS.contains(version))
                    .unwrap_or(VERSIONS[0]);
                whole(id, &format!("{{\"protocolVersion\":\"{version}\",{SERVER}}}"))
            }
            "ping" => whole(id, "{}"),
            method => error(
                id,
                -32601,
                &format!("this server has no method {}", method.escape_default()),
            ),
        };
        Answer::Reply { pieces, session }
    }

    fn echo(&self, id: &str, params: &Params<'_>) -> [Bytes; 3] {
        let Some(arguments) = &params.arguments else {
            return error(id, -32602, "echo needs arguments");
        };
        let marker = arguments.marker;
        // The text is as long as asked, marker included, and never shorter than the marker.
        let rest = arguments.bytes.saturating_sub(marker.len());
        if rest > LARGEST_TEXT {
            return error(id, -32602, "bytes is above 8 MiB");
        }
        // A cut inside the escape at the pattern's end would make the text invalid; starting one later moves the cut.
        let start = usize::from(rest % FILLER.len() == FILLER.len() - 1);
        let filler = self.filler.slice(start..start + rest);
        const TAIL: &[u8] = b"\"}],\"isError\":false}}";
        let mut head =
            Vec::with_capacity(96 + id.len() + marker.len() + if rest < SMALL { rest + TAIL.len() } else { 0 });
        head.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        head.extend_from_slice(id.as_bytes());
        head.extend_from_slice(b",\"result\":{");
        if self.sessionless {
            head.extend_from_slice(b"\"resultType\":\"complete\",");
        }
        head.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":\"");
        head.extend_from_slice(marker.as_bytes());
        if rest < SMALL {
            head.extend_from_slice(&filler);
            head.extend_from_slice(TAIL);
            [Bytes::from(head), Bytes::new(), Bytes::new()]
        } else {
            [Bytes::from(head), filler, Bytes::from_static(TAIL)]
        }
    }
}

fn head(id: &str, start: &str) -> Bytes {
    Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{start}"))
}

fn whole(id: &str, result: &str) -> [Bytes; 3] {
    [head(id, result), Bytes::from_static(b"}"), Bytes::new()]
}

fn error(id: &str, code: i32, message: &str) -> [Bytes; 3] {
    let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":{message:?}}}}}");
    [Bytes::from(text), Bytes::new(), Bytes::new()]
}

/// Tools of the size that real servers have: a paragraph of description and a schema of four members, about 700 bytes.
fn tool_list(count: usize) -> String {
    let mut list = String::from(
        r#"{"name":"echo","description":"Answers with a text of the asked length.","inputSchema":{"type":"object","properties":{"bytes":{"type":"integer"},"marker":{"type":"string"}},"required":["bytes","marker"]}}"#,
    );
    for number in 1..count {
        list.push_str(&format!(
            r#",{{"name":"record_{number:04}_search","title":"Search records of kind {number}","description":"Searches the records of kind {number} by free text and returns the best matches with their identifiers, titles and a short extract. Results are ordered by relevance; use the cursor of the last answer to go on.","inputSchema":{{"type":"object","properties":{{"query":{{"type":"string","description":"What to look for, in words or a quoted phrase"}},"limit":{{"type":"integer","minimum":1,"maximum":100,"default":20}},"fields":{{"type":"array","items":{{"type":"string","enum":["id","title","owner","extract"]}}}},"since":{{"type":"string","format":"date-time"}}}},"required":["query"],"additionalProperties":false}},"annotations":{{"readOnlyHint":true,"openWorldHint":false}}}}"#,
        ));
    }
    list
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow, default)]
    params: Option<Params<'a>>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow, default)]
    arguments: Option<Arguments<'a>>,
    #[serde(borrow, default, rename = "protocolVersion")]
    protocol_version: Option<&'a str>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(default)]
    bytes: usize,
    #[serde(borrow, default)]
    marker: &'a str,
}

/// Below this one write of one piece is cheaper than a vectored write of three.
const SMALL: usize = 16 << 10;
const SESSION_PREFIX: &str = "bench-";
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const DISCOVERED: &str =
    r#""resultType":"complete","ttlMs":0,"cacheScope":"public","supportedVersions":["2026-07-28"]"#;
const SERVER: &str =
    r#""capabilities":{"tools":{"listChanged":false}},"serverInfo":{"name":"mcp-proxy-bench","version":"0"}"#;
/// One line of prose with the escape that ends a line: JSON scanners meet escapes in real texts too.
const FILLER: &str = r"The quick brown fox jumps over the lazy dog, and the dog does not mind at all.\n";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ask(answers: &Answers, message: &Value) -> Option<Value> {
        match answers.answer(message.to_string().as_bytes()) {
            Answer::Reply { pieces, .. } => Some(serde_json::from_slice(&pieces.concat()).expect("valid JSON")),
            Answer::Nothing | Answer::Unreadable => None,
        }
    }

    #[test]
    fn every_length_is_valid_json_and_exact() {
        let answers = Answers::new(1, false, false);
        for bytes in (0..700).chain([SMALL + 15, SMALL + 16, 200_000]) {
            let params = json!({"name": "echo", "arguments": {"bytes": bytes, "marker": "m0001.0000000001"}});
            let message = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": params});
            let Answer::Reply { pieces, .. } = answers.answer(message.to_string().as_bytes()) else {
                panic!("no reply to {bytes}")
            };
            let text = pieces.concat();
            serde_json::from_slice::<Value>(&text).expect("valid JSON");
            let overhead = "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"\"}],\"isError\":false}}";
            assert_eq!(text.len() - overhead.len(), bytes.max(16), "asked for {bytes}");
        }
    }

    #[test]
    fn lists_as_many_tools_as_asked() {
        let answers = Answers::new(1_000, false, false);
        let list = ask(&answers, &json!({"id": 1, "method": "tools/list"})).expect("a reply");
        assert_eq!(list["result"]["tools"].as_array().map(Vec::len), Some(1_000));
    }

    #[test]
    fn notifications_get_nothing_and_unknown_methods_an_error() {
        let answers = Answers::new(1, true, false);
        assert!(ask(&answers, &json!({"method": "notifications/initialized"})).is_none());
        let reply = ask(&answers, &json!({"id": 2, "method": "no/such"})).expect("a reply");
        assert_eq!(reply["error"]["code"], -32601);
    }
}
