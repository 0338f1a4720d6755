//! Checks how a backend is reached: a child process, or a URL.

use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use mcp_proxy_core::Secret;
use mcp_proxy_transport::client::options::{HttpOptions, SessionMode, StdioOptions, TlsOptions};
use url::Url;

use super::judge::{Judge, shortened};
use crate::config::{BackendSection, Sharing, Transport};

/// Headers that belong to the protocol or to the connection, not to a configuration.
const OWN_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn stdio(judge: &mut Judge<'_>, backend: &BackendSection, path: &str) -> Option<StdioOptions> {
    let key = |name: &str| format!("{path}.{name}");
    let command = match backend.command.as_deref() {
        Some(command) if !command.trim().is_empty() => {
            Some(plan_command(judge, command, &key("command"), backend.enabled))
        }
        Some(_) => {
            judge.value(&key("command"), "the command is empty", "name the program to start");
            None
        }
        None => {
            let message = "a backend with transport `stdio` needs a command";
            judge.key(&key("command"), message, "add `command = \"…\"`: the program to start");
            None
        }
    };
    // Without a command the rest is checked all the same.
    let mut options = StdioOptions::new(command.clone().unwrap_or_default());
    options.args = backend.args.clone().unwrap_or_default();
    for (index, arg) in options.args.iter().enumerate().filter(|(_, arg)| arg.contains('\0')) {
        let message = format!("argument `{}` holds a null character", shortened(arg));
        judge.value(&format!("{}[{index}]", key("args")), message, "delete it");
    }
    for (name, value) in backend.env.iter().flatten() {
        let path = crate::config::document::join(&key("env"), name);
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("`{}` cannot be the name of an environment variable", shortened(name));
            judge.key(&path, message, "use a name without `=`");
        } else if value.expose().contains('\0') {
            judge.value(&path, "the value holds a null character", "delete it");
        }
        options.env.push((name.clone(), value.clone()));
    }
    options.cwd = backend.cwd.as_deref().map(|cwd| judge.folder(&key("cwd"), cwd));
    options.inherit_env = backend.inherit_env.clone().unwrap_or_default();
    for (index, name) in options.inherit_env.iter().enumerate() {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = match name.is_empty() {
                true => "the name of a variable is empty".to_owned(),
                false => format!("`{}` cannot be the name of an environment variable", shortened(name)),
            };
            let remedy = "write a name, or a pattern such as `AWS_*`";
            judge.value(&format!("{}[{index}]", key("inherit_env")), message, remedy);
        }
    }
    if backend.idle_stop_seconds == Some(0) {
        let message = "0 seconds would stop the program at once";
        judge.value(&key("idle_stop_seconds"), message, "write 1 or more, or delete the key");
    }
    options.idle_stop = backend.idle_stop_seconds.map(Duration::from_secs);
    options.session = mode(backend.session);
    command.map(|_| options)
}

fn plan_command(judge: &mut Judge<'_>, command: &str, key: &str, enabled: bool) -> String {
    if command.contains('\0') {
        judge.value(key, "the command holds a null character", "delete it");
    }
    let has_folder = Path::new(command).components().count() > 1;
    let resolved = match has_folder {
        true => judge.resolve(Path::new(command)),
        false => command.into(),
    };
    if !has_folder && command.contains(char::is_whitespace) {
        let (program, _) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let message = "the command holds spaces: it would be taken for the name of one program";
        let remedy = format!("write `command = \"{}\"` and the rest in `args`", shortened(program));
        judge.value(key, message, remedy);
    } else if enabled && has_folder && !resolved.is_file() {
        // Who disables a backend often does so because its program is not there.
        let message = format!("the program `{}` does not exist", shortened(command));
        judge.doubt(
            key,
            message,
            "name an existing program; the path is relative to the folder of the configuration",
        );
    }
    match resolved.into_os_string().into_string() {
        Ok(command) => command,
        Err(_) => command.to_owned(),
    }
}

/// What is reached by a URL: Streamable HTTP, HTTP+SSE, WebSocket.
pub(super) fn http(judge: &mut Judge<'_>, backend: &BackendSection, path: &str) -> Option<HttpOptions> {
    let key = |name: &str| format!("{path}.{name}");
    let schemes = Schemes::of(backend.transport);
    let url = match backend.url.as_deref() {
        Some(written) => plan_url(judge, written, &schemes, &key("url")),
        None => {
            let message = format!("a backend with transport `{}` needs a URL", backend.transport.as_str());
            let remedy = format!("add `url = \"{}://…/{}\"`", schemes.tls, schemes.path);
            judge.key(&key("url"), message, remedy);
            None
        }
    };
    // Without a URL the rest is checked all the same, and nothing is said of what depends on it.
    let is_tls = url.as_ref().is_none_or(|url| url.scheme() == schemes.tls);
    let is_local = url.as_ref().is_none_or(is_local);
    let mut headers = Vec::new();
    for (name, value) in backend.headers.iter().flatten() {
        let path = crate::config::document::join(&key("headers"), name);
        headers.extend(plan_header(judge, name, value, &path));
    }
    if let Some(token) = &backend.bearer_token {
        let path = key("bearer_token");
        let valid = HeaderValue::from_str(token.expose()).is_ok() && !token.expose().contains(char::is_whitespace);
        if token.expose().is_empty() {
            judge.value(&path, "the token is empty", "write the token, or delete the key");
        } else if !valid {
            judge.value(
                &path,
                "the token holds characters that no header can carry",
                "check what the variable or file says",
            );
        } else if !is_tls && !is_local {
            let remedy = format!("begin the URL with `{}://`", schemes.tls);
            judge.doubt(&path, "the token travels unencrypted", remedy);
        }
        if headers.iter().any(|(name, _)| *name == header::AUTHORIZATION) {
            judge.key(&path, "`headers` sets `authorization` as well", "delete one of the two");
        }
    }
    let tls = plan_tls(judge, backend, path, is_tls, &schemes);
    Some(HttpOptions {
        headers,
        bearer: backend.bearer_token.clone(),
        tls,
        session: mode(backend.session),
        ..HttpOptions::new(url?)
    })
}

/// What URLs of a transport begin with, and an example of their end.
struct Schemes {
    plain: &'static str,
    tls: &'static str,
    path: &'static str,
}

impl Schemes {
    fn of(transport: Transport) -> Self {
        let (plain, tls, path) = match transport {
            Transport::WebSocket => ("ws", "wss", "mcp"),
            Transport::Sse => ("http", "https", "sse"),
            Transport::Stdio | Transport::Http | Transport::Builtin => ("http", "https", "mcp"),
        };
        Self { plain, tls, path }
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// The URL is not shown in messages: its query may hold a key.
fn plan_url(judge: &mut Judge<'_>, written: &str, schemes: &Schemes, key: &str) -> Option<Url> {
    let Schemes { plain, tls, path } = schemes;
    let example = format!("write it like `{tls}://mcp.example.com/{path}`");
    let url = match Url::parse(written) {
        Ok(url) => url,
        Err(error) => {
            judge.value(key, format!("this is not a URL: {error}"), example);
            return None;
        }
    };
    let scheme = url.scheme();
    if scheme != *plain && scheme != *tls {
        let message = format!("the scheme `{}` is not supported", shortened(scheme));
        judge.value(key, message, format!("begin it with `{plain}://` or `{tls}://`"));
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        judge.value(
            key,
            "a URL must not hold a user or password",
            "use `bearer_token` or `headers` instead",
        );
        return None;
    }
    if url.fragment().is_some() {
        judge.value(
            key,
            "a URL with `#` leads to a part of a page, not to a server",
            "delete `#` and what follows",
        );
        return None;
    }
    Some(url)
}

fn plan_header(judge: &mut Judge<'_>, name: &str, value: &Secret, path: &str) -> Option<(HeaderName, HeaderValue)> {
    let Ok(header) = HeaderName::try_from(name) else {
        let message = format!("`{}` cannot be the name of a header", shortened(name));
        judge.key(path, message, "use letters, digits and `-`");
        return None;
    };
    if OWN_HEADERS.contains(&header.as_str()) || header.as_str().starts_with("sec-websocket-") {
        judge.key(
            path,
            format!("the header `{header}` is set by the proxy itself"),
            "delete it",
        );
        return None;
    }
    let Ok(mut value) = HeaderValue::from_str(value.expose()) else {
        judge.value(
            path,
            "the value holds characters that no header can carry",
            "use one line of printable text",
        );
        return None;
    };
    value.set_sensitive(true);
    Some((header, value))
}

fn plan_tls(
    judge: &mut Judge<'_>,
    backend: &BackendSection,
    path: &str,
    is_tls: bool,
    schemes: &Schemes,
) -> TlsOptions {
    let Some(tls) = &backend.tls else {
        return TlsOptions::default();
    };
    let path = format!("{path}.tls");
    if !is_tls {
        judge.key(
            &path,
            format!("`tls` means nothing with a URL that begins with `{}`", schemes.plain),
            format!("begin the URL with `{}://`, or delete `tls`", schemes.tls),
        );
    }
    for (has, lacks, given, other) in [
        ("cert", "key", &tls.cert, &tls.key),
        ("key", "cert", &tls.key, &tls.cert),
    ] {
        if given.is_some() && other.is_none() {
            let message = format!("`{has}` is of no use without `{lacks}`");
            judge.key(
                &format!("{path}.{has}"),
                message,
                format!("add `{lacks}`, or delete `{has}`"),
            );
        }
    }
    let mut file = |name: &str, given: &Option<std::path::PathBuf>| {
        let given = given.as_ref()?;
        Some(judge.file(&format!("{path}.{name}"), given))
    };
    TlsOptions {
        ca: file("ca", &tls.ca),
        cert: file("cert", &tls.cert),
        key: file("key", &tls.key),
    }
}

fn mode(sharing: Option<Sharing>) -> SessionMode {
    match sharing {
        None | Some(Sharing::Auto) => SessionMode::Auto,
        Some(Sharing::Shared) => SessionMode::Shared,
        Some(Sharing::PerClient) => SessionMode::PerClient,
    }
}
