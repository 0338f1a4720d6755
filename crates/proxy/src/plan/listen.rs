//! Checks where the proxy listens and how its front answers.

use std::net::IpAddr;
use std::time::Duration;

use mcp_proxy_transport::server::options::{FrontOptions, ListenOptions, ServerTls, SessionOptions};
use url::Url;

use super::judge::{Judge, shortened};
use crate::config::{ListenSection, ListenTlsSection, ProxySection, SessionSection};

/// What listens where unless the configuration says otherwise.
const DEFAULT: (&str, u16) = ("127.0.0.1", 8080);

/// Paths the proxy answers itself.
const OWN_PATHS: &[&str] = &["/livez", "/readyz", "/health", "/admin"];

/// Paths of clients over HTTP+SSE.
const SSE_PATHS: &[&str] = &["/sse", "/message"];

pub(super) fn plan(judge: &mut Judge<'_>, proxy: &ProxySection) -> (ListenOptions, FrontOptions) {
    let listen = &proxy.listen;
    let only_unix = listen.unix.is_some() && listen.host.is_none() && listen.port.is_none();
    let host = listen.host.as_deref().unwrap_or(DEFAULT.0);
    let address = (!only_unix).then(|| (bare(host).to_owned(), listen.port.unwrap_or(DEFAULT.1)));
    if address.is_some() {
        check_host(judge, host, &listen.allowed_hosts);
    }
    for (index, host) in listen.allowed_hosts.iter().enumerate() {
        check_allowed_host(judge, host, &format!("proxy.listen.allowed_hosts[{index}]"));
    }
    for (index, origin) in listen.allowed_origins.iter().enumerate() {
        check_origin(judge, origin, &format!("proxy.listen.allowed_origins[{index}]"));
    }
    let unix = listen.unix.as_ref().map(|path| {
        let resolved = judge.resolve(path);
        if path.as_os_str().is_empty() || !resolved.parent().is_some_and(|folder| folder.is_dir()) {
            let message = format!("there is no folder for the socket `{}`", path.display());
            judge.value("proxy.listen.unix", message, "create the folder, or name another path");
        }
        resolved
    });
    let tls = listen.tls.as_ref().map(|tls| plan_tls(judge, tls));
    if only_unix && tls.is_some() {
        let remedy = "delete `tls`, or write `port` to listen on TCP as well";
        judge.key("proxy.listen.tls", "a unix socket speaks no TLS", remedy);
    }
    #[cfg(not(feature = "websocket"))]
    if listen.websocket {
        let remedy = "delete the key, or use a build with the feature `websocket`";
        judge.value("proxy.listen.websocket", "built without `websocket`", remedy);
    }
    let front = FrontOptions {
        path: plan_path(judge, listen),
        allowed_hosts: listen.allowed_hosts.clone(),
        allowed_origins: listen.allowed_origins.clone(),
        body_bytes: at_least_one(judge, "proxy.listen.body_bytes", listen),
        keep_alive: seconds(judge, "proxy.listen.keep_alive_seconds", listen.keep_alive_seconds),
        #[cfg(feature = "websocket")]
        websocket: listen.websocket,
        sse: listen.sse,
        session: plan_session(judge, &proxy.session),
    };
    (ListenOptions { address, unix, tls }, front)
}

fn check_host(judge: &mut Judge<'_>, host: &str, allowed: &[String]) {
    let path = "proxy.listen.host";
    if host.contains("://") {
        let message = format!("`{}` is a URL, not a host", shortened(host));
        return judge.value(
            path,
            message,
            "write only the host, such as `127.0.0.1`; the port has its own key",
        );
    }
    let host = bare(host);
    let is_name = !host.is_empty()
        && host
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || "-._".contains(char));
    match host.parse::<IpAddr>() {
        Err(_) if host.contains(':') => {
            let message = format!("`{}` is not a host", shortened(host));
            judge.value(path, message, "write only the host; the port has its own key, `port`");
        }
        Err(_) if !is_name => {
            let message = format!("`{}` is not a host", shortened(host));
            judge.value(path, message, "write an address such as `127.0.0.1`, or a host name");
        }
        Ok(address) if !address.is_loopback() && allowed.is_empty() => doubt_open(judge, path, host),
        Err(_) if host != "localhost" && allowed.is_empty() => doubt_open(judge, path, host),
        _ => {}
    }
}

fn doubt_open(judge: &mut Judge<'_>, path: &str, host: &str) {
    let message = format!("`{host}` is reached from other machines, but only requests to loopback names are answered");
    let remedy = "add `allowed_hosts = [\"mcp.example.com\"]` with the names that clients use";
    judge.doubt(path, message, remedy);
}

fn check_allowed_host(judge: &mut Judge<'_>, host: &str, path: &str) {
    if host == "*" {
        let remedy = "name each host that clients use; this check keeps web pages from reaching the proxy";
        return judge.value(path, "every host cannot be allowed", remedy);
    }
    let is_host = !host.is_empty()
        && host
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || "-._:[]".contains(char));
    if !is_host {
        let message = format!("`{}` is not a host", shortened(host));
        judge.value(
            path,
            message,
            "write a host with or without port, such as `mcp.example.com`",
        );
    }
}

fn check_origin(judge: &mut Judge<'_>, origin: &str, path: &str) {
    let is_origin =
        Url::parse(origin).is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == origin);
    if !is_origin {
        let message = format!("`{}` is not an origin", shortened(origin));
        judge.value(
            path,
            message,
            "write scheme and host without a path, such as `https://app.example.com`",
        );
    }
}

fn plan_path(judge: &mut Judge<'_>, listen: &ListenSection) -> String {
    let (key, path) = ("proxy.listen.path", listen.path.as_str());
    let is_plain = path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte))
        && !path.split('/').any(|part| part == ".." || part == ".");
    if !is_plain {
        let message = format!("`{}` is not a plain path", shortened(path));
        judge.value(key, message, "write a path that begins with `/`, such as `/mcp`");
    } else if let Some(own) = OWN_PATHS
        .iter()
        .find(|own| path == **own || path.starts_with(&format!("{own}/")))
    {
        judge.value(
            key,
            format!("`{own}` is answered by the proxy itself"),
            "choose another path, such as `/mcp`",
        );
    } else if listen.sse && SSE_PATHS.contains(&path.trim_end_matches('/')) {
        let message = format!("`{path}` is one of the two paths of HTTP+SSE");
        judge.value(key, message, "choose another path, such as `/mcp`");
    }
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

fn plan_tls(judge: &mut Judge<'_>, tls: &ListenTlsSection) -> ServerTls {
    ServerTls {
        cert: judge.file("proxy.listen.tls.cert", &tls.cert),
        key: judge.file("proxy.listen.tls.key", &tls.key),
        client_ca: tls
            .client_ca
            .as_ref()
            .map(|path| judge.file("proxy.listen.tls.client_ca", path)),
    }
}

fn plan_session(judge: &mut Judge<'_>, session: &SessionSection) -> SessionOptions {
    if session.max == 0 {
        judge.value(
            "proxy.session.max",
            "without sessions no client could connect",
            "write 1 or more",
        );
    }
    SessionOptions {
        idle: seconds(judge, "proxy.session.idle_seconds", session.idle_seconds),
        max: session.max,
        required: session.required,
        resume: Duration::from_secs(session.resume_seconds),
        suspend: seconds(judge, "proxy.session.suspend_seconds", session.suspend_seconds),
        max_suspended: session.max_suspended,
    }
}

fn at_least_one(judge: &mut Judge<'_>, path: &str, listen: &ListenSection) -> usize {
    if listen.body_bytes == 0 {
        judge.value(
            path,
            "a limit of 0 bytes would refuse every request",
            "write a size in bytes, such as 4194304",
        );
    }
    listen.body_bytes
}

fn seconds(judge: &mut Judge<'_>, path: &str, seconds: u64) -> Duration {
    if seconds == 0 {
        judge.value(path, "0 seconds is too short to be of use", "write 1 or more");
    }
    Duration::from_secs(seconds)
}

/// An IPv6 address without the brackets of URLs.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}
