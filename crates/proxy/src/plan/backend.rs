//! Checks the backends: names and namespaces that cannot be mixed up, and keys that the transport has.

use std::collections::HashMap;
use std::sync::Arc;

use mcp_proxy_core::names::Namespace;

use super::judge::{Judge, shortened};
use super::{BackendPlan, LinkPlan, link};
use crate::config::{BackendSection, ProxyConfig, Transport};

/// Belongs to the proxy's own tools.
const RESERVED: &str = "proxy";

/// Longest name of a backend: with a separator and a tool's own name, public names stay within the protocol's limit.
const LONGEST: usize = 64;

pub(super) fn plan_all(judge: &mut Judge<'_>, config: &ProxyConfig) -> Vec<BackendPlan> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut namespaces: HashMap<&str, usize> = HashMap::new();
    if config.backends.is_empty() {
        judge.doubt(
            "backends",
            "there are no backends: clients will find no tools",
            "add a `[[backends]]` section",
        );
    }
    let mut plans = Vec::with_capacity(config.backends.len());
    for (index, backend) in config.backends.iter().enumerate() {
        let path = format!("backends[{index}]");
        check_name(judge, &backend.name, &path);
        if let Some(first) = names.insert(&backend.name, index).filter(|_| !backend.name.is_empty()) {
            let at = judge
                .place(&format!("backends[{first}].name"))
                .map_or(String::new(), |at| format!(", first at {at}"));
            let message = format!("the name `{}` is given twice{at}", shortened(&backend.name));
            judge.value(&format!("{path}.name"), message, "give each backend a name of its own");
        } else {
            let namespace = backend.namespace.as_deref().unwrap_or(&backend.name);
            check_namespace(judge, backend, &path);
            if let Some(first) = namespaces.insert(namespace, index) {
                shared_namespace(judge, config, namespace, first, &path);
            }
        }
        if judge.is_spoiled(&format!("{path}.transport")) {
            continue;
        }
        check_keys(judge, backend, &path);
        if let Some(plan) = plan(judge, backend, &path, &config.proxy.separator) {
            plans.push(plan);
        }
    }
    plans
}

fn plan(judge: &mut Judge<'_>, backend: &BackendSection, path: &str, separator: &str) -> Option<BackendPlan> {
    let link = match backend.transport {
        Transport::Stdio => link::stdio(judge, backend, path).map(LinkPlan::Stdio),
        Transport::Http => link::http(judge, backend, path).map(LinkPlan::Http),
        #[cfg(feature = "websocket")]
        Transport::WebSocket => link::http(judge, backend, path).map(LinkPlan::WebSocket),
        #[cfg(not(feature = "websocket"))]
        Transport::WebSocket => {
            let remedy = "use a build with the feature `websocket`, or another transport";
            judge.value(&format!("{path}.transport"), "built without `websocket`", remedy);
            None
        }
        Transport::Sse => link::http(judge, backend, path).map(LinkPlan::Sse),
        Transport::Builtin => Some(LinkPlan::Builtin),
    }?;
    let namespace = backend.namespace.as_deref().unwrap_or(&backend.name);
    Some(BackendPlan {
        name: Arc::from(backend.name.as_str()),
        namespace: Namespace::new(namespace, separator),
        enabled: backend.enabled,
        lazy: backend.lazy,
        link,
    })
}

fn is_word(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn check_name(judge: &mut Judge<'_>, name: &str, path: &str) {
    let path = format!("{path}.name");
    if name.is_empty() {
        judge.value(
            &path,
            "a backend needs a name",
            "write `name = \"…\"`: letters, digits, `_` and `-`",
        );
    } else if !is_word(name) {
        let fixed: String = name
            .chars()
            .map(|char| if is_word(&char.to_string()) { char } else { '_' })
            .collect();
        let message = format!("`{}` cannot be a backend's name", shortened(name));
        judge.value(
            &path,
            message,
            format!("use letters, digits, `_` and `-`: `{}`", shortened(&fixed)),
        );
    } else if name == RESERVED {
        judge.value(
            &path,
            "`proxy` is the name of the proxy's own tools",
            "choose another name",
        );
    } else if name.len() > LONGEST {
        judge.value(
            &path,
            format!("a backend's name has at most {LONGEST} characters"),
            "choose a shorter name",
        );
    }
}

fn check_namespace(judge: &mut Judge<'_>, backend: &BackendSection, path: &str) {
    let Some(namespace) = &backend.namespace else {
        return;
    };
    let path = format!("{path}.namespace");
    if !is_word(namespace) {
        let message = format!("`{}` cannot be a namespace", shortened(namespace));
        judge.value(
            &path,
            message,
            "use letters, digits, `_` and `-`; the separator is added by itself",
        );
    } else if namespace == RESERVED {
        judge.value(
            &path,
            "`proxy` is the namespace of the proxy's own tools",
            "choose another namespace",
        );
    } else if namespace.len() > LONGEST {
        judge.value(
            &path,
            format!("a namespace has at most {LONGEST} characters"),
            "choose a shorter one",
        );
    }
}

fn shared_namespace(judge: &mut Judge<'_>, config: &ProxyConfig, namespace: &str, first: usize, path: &str) {
    let other = shortened(&config.backends[first].name);
    let path = format!("{path}.namespace");
    if namespace.is_empty() {
        let message = format!("backend `{other}` has no namespace either: names that both have are refused");
        judge.doubt(&path, message, "give one of the two a namespace");
    } else {
        let message = format!("backend `{other}` has the namespace `{}` as well", shortened(namespace));
        judge.value(&path, message, "give each backend a namespace of its own");
    }
}

/// Keys that only some transports have: a key that would be ignored is an error.
fn check_keys(judge: &mut Judge<'_>, backend: &BackendSection, path: &str) {
    use Transport::{Http, Sse, Stdio, WebSocket};
    const REMOTE: &[Transport] = &[Http, Sse, WebSocket];
    let keys: &[(&str, bool, &[Transport])] = &[
        ("command", backend.command.is_some(), &[Stdio]),
        ("args", backend.args.is_some(), &[Stdio]),
        ("env", backend.env.is_some(), &[Stdio]),
        ("cwd", backend.cwd.is_some(), &[Stdio]),
        ("inherit_env", backend.inherit_env.is_some(), &[Stdio]),
        ("idle_stop_seconds", backend.idle_stop_seconds.is_some(), &[Stdio]),
        ("url", backend.url.is_some(), REMOTE),
        ("bearer_token", backend.bearer_token.is_some(), REMOTE),
        ("headers", backend.headers.is_some(), REMOTE),
        ("tls", backend.tls.is_some(), REMOTE),
        ("session", backend.session.is_some(), &[Stdio, Http]),
    ];
    for (key, written, transports) in keys {
        if *written && !transports.contains(&backend.transport) {
            let theirs: Vec<String> = transports
                .iter()
                .map(|one| format!("transport = \"{}\"", one.as_str()))
                .collect();
            let message = format!("`{key}` means nothing with transport `{}`", backend.transport.as_str());
            let remedy = format!("delete it, or write `{}`", theirs.join("` or `"));
            judge.key(&format!("{path}.{key}"), message, remedy);
        }
    }
}
