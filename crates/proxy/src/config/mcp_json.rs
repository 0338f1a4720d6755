//! `.mcp.json`, the file in which MCP clients list their servers: each server becomes a backend.

use std::ops::Range;

use super::check::{list, nearest};
use super::document::{Data, Key, Node};
use super::slip::Slip;

/// The members of the file that list servers.
const LISTS: &[&str] = &["mcpServers", "servers"];

/// What a server may say, beside what is ignored with a warning.
const MEMBERS: &[&str] = &["args", "command", "cwd", "disabled", "env", "headers", "type", "url"];

/// The servers of a file, as `[[backends]]` tables.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    pub(crate) backends: Vec<Node>,
    pub(crate) errors: Vec<Slip>,
    pub(crate) warnings: Vec<Slip>,
}

/// Reads the servers of a document.
pub(crate) fn servers(root: &Node) -> Servers {
    let mut servers = Servers::default();
    let Data::Table(members) = &root.data else {
        let remedy = "write `{ \"mcpServers\": { … } }`";
        servers
            .errors
            .push(Slip::new(root.span.clone(), "this file holds no object", remedy));
        return servers;
    };
    for (key, node) in members {
        match &node.data {
            Data::Table(list) if LISTS.contains(&key.name.as_str()) => {
                for (name, server) in list {
                    servers.server(name, server);
                }
            }
            _ if LISTS.contains(&key.name.as_str()) => {
                let message = format!("`{}` needs an object", key.name);
                let remedy = "write one member for each server: { \"name\": { \"command\": \"…\" } }";
                servers.errors.push(Slip::new(node.span.clone(), message, remedy));
            }
            _ => servers.ignored(key, LISTS),
        }
    }
    if !members.iter().any(|(key, _)| LISTS.contains(&key.name.as_str())) {
        let message = "this file lists no servers";
        let remedy = "write `{ \"mcpServers\": { … } }`";
        servers.errors.push(Slip::new(root.span.clone(), message, remedy));
    }
    servers
}

impl Servers {
    fn server(&mut self, name: &Key, server: &Node) {
        let Data::Table(given) = &server.data else {
            let message = format!("the server `{}` needs an object", name.name);
            let remedy = "write { \"command\": \"…\" } or { \"url\": \"…\" }";
            self.errors.push(Slip::new(server.span.clone(), message, remedy));
            return;
        };
        let mut members = vec![member(
            "name",
            &name.span,
            Data::Text(self.backend_name(name)),
            &name.span,
        )];
        let mut transport = None;
        for (key, node) in given {
            match key.name.as_str() {
                "command" | "args" | "env" | "cwd" | "url" | "headers" => members.push((key.clone(), node.clone())),
                "type" => transport = Some(self.transport(node)),
                "disabled" => match &node.data {
                    Data::Bool(disabled) => {
                        members.push(member("enabled", &key.span, Data::Bool(!disabled), &node.span));
                    }
                    _ => {
                        let message = "`disabled` needs `true` or `false`";
                        self.errors
                            .push(Slip::new(node.span.clone(), message, "write it without quotes"));
                    }
                },
                _ => self.ignored(key, MEMBERS),
            }
        }
        let is_websocket = given.iter().any(|(key, node)| match &node.data {
            Data::Text(url) if key.name == "url" => url.starts_with("ws://") || url.starts_with("wss://"),
            _ => false,
        });
        let has = |name: &str| given.iter().any(|(key, _)| key.name == name);
        let transport = match transport {
            Some(transport) => transport,
            None if is_websocket => Some(("websocket", name.span.clone())),
            None if has("url") => Some(("http", name.span.clone())),
            None if has("command") => Some(("stdio", name.span.clone())),
            None => {
                let message = format!("the server `{}` has neither `command` nor `url`", name.name);
                self.errors
                    .push(Slip::new(name.span.clone(), message, "add one of the two"));
                None
            }
        };
        if let Some((transport, span)) = transport {
            members.push(member("transport", &span, Data::Text(transport.into()), &span));
            self.backends.push(Node {
                data: Data::Table(members),
                span: server.span.clone(),
            });
        }
    }

    fn transport(&mut self, node: &Node) -> Option<(&'static str, Range<usize>)> {
        const TYPES: &[&str] = &["stdio", "http", "streamable-http", "sse", "websocket"];
        let Data::Text(text) = &node.data else {
            self.errors
                .push(Slip::new(node.span.clone(), "`type` needs text", list(TYPES)));
            return None;
        };
        match text.as_str() {
            "stdio" | "local" => Some(("stdio", node.span.clone())),
            "http" | "streamable-http" | "streamableHttp" | "streamable_http" | "remote" => {
                Some(("http", node.span.clone()))
            }
            "sse" => Some(("sse", node.span.clone())),
            "ws" | "websocket" => Some(("websocket", node.span.clone())),
            _ => {
                let message = "`type` is none of the known transports";
                self.errors.push(Slip::new(
                    node.span.clone(),
                    message,
                    format!("choose one of {}", list(TYPES)),
                ));
                None
            }
        }
    }

    /// A name that backends may have.
    fn backend_name(&mut self, key: &Key) -> String {
        let allowed = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
        let mut name: String = key
            .name
            .chars()
            .map(|char| if allowed(char) { char } else { '_' })
            .collect();
        if name.is_empty() || name == "proxy" {
            name.push_str("_server");
        }
        if name != key.name {
            let message = format!("the server's name cannot be a backend's name: it is `{name}` here");
            let remedy = "rename it: letters, digits, `_` and `-`; `proxy` is reserved";
            self.warnings.push(Slip::new(key.span.clone(), message, remedy));
        }
        name
    }

    fn ignored(&mut self, key: &Key, known: &[&str]) {
        let message = format!("`{}` is ignored", super::check::shortened(&key.name));
        let remedy = match nearest(&key.name, known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("known here: {}", list(known)),
        };
        self.warnings.push(Slip::new(key.span.clone(), message, remedy));
    }
}

fn member(name: &str, key: &Range<usize>, data: Data, value: &Range<usize>) -> (Key, Node) {
    let key = Key {
        name: name.into(),
        span: key.clone(),
    };
    let node = Node {
        data,
        span: value.clone(),
    };
    (key, node)
}
