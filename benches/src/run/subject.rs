//! Starts what is measured and what stands behind it: backend, nginx and the proxy, each on a free port of 127.0.0.1.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::RunArguments;
use crate::client::{Ask, Endpoint, Manner, read_list};
use crate::machine::account;
use crate::machine::child::{Program, launch_arguments};
use crate::machine::place::Places;

/// Where programs are started from: a folder for their files, and the cores for each.
#[derive(Debug)]
pub(crate) struct Workshop {
    folder: TempDir,
    pub(crate) places: Places,
    nginx: Option<(PathBuf, String)>,
    proxy: Option<PathBuf>,
}

/// A running program with an endpoint.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) program: Program,
    /// The process whose time and memory count.
    pub(crate) pid: u32,
    pub(crate) endpoint: Endpoint,
    /// The name of `echo` here.
    tool: String,
    /// Where a counting proxy tells its counters.
    pub(crate) counter: Option<SocketAddr>,
}

/// What the proxy is to put its own endpoint before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behind<'a> {
    Http(&'a Endpoint),
    Stdio,
}

impl Workshop {
    /// Looks for the programs; what is missing is said once, and left out.
    ///
    /// # Errors
    /// When no temporary folder can be made, or a program that was named is not there.
    pub(crate) async fn new(arguments: &RunArguments, places: Places) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("mcp-proxy-bench-").context("cannot make a temporary folder")?;
        let nginx = nginx_version(&arguments.nginx)
            .await
            .map(|version| (arguments.nginx.clone(), version));
        if nginx.is_none() {
            eprintln!(
                "nginx is not there, so there will be costs and no ratios. Install it (Debian: apt-get install nginx-light), \
                 or name it with --nginx FILE."
            );
        }
        let proxy = match &arguments.proxy {
            Some(path) => {
                ensure!(
                    path.is_file(),
                    "{} is not there; build it, or name another with --proxy",
                    path.display()
                );
                Some(path.clone())
            }
            None => Some(std::env::current_exe()?.with_file_name("mcp-proxy")).filter(|path| path.is_file()),
        };
        if proxy.is_none() {
            eprintln!(
                "mcp-proxy is not beside the bench: nginx is measured alone. `cargo xtask bench` builds both; --proxy FILE \
                 names another."
            );
        }
        Ok(Self {
            folder,
            places,
            nginx,
            proxy,
        })
    }

    /// Whether there is a proxy to measure.
    pub(crate) fn has_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    /// What nginx says about itself.
    pub(crate) fn nginx_version(&self) -> Option<&str> {
        self.nginx.as_ref().map(|(_, version)| version.as_str())
    }

    /// Starts the lean backend, which lists `tools` tools and is spoken to in this manner.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn backend(&self, tools: usize, manner: Manner) -> anyhow::Result<Running> {
        let file = self.folder.path().join("backend.address");
        // A file of an earlier backend would be taken for this one's.
        let _ = std::fs::remove_file(&file);
        let bench = std::env::current_exe()?;
        let tools = tools.to_string();
        let command = [
            bench.as_os_str(),
            "backend".as_ref(),
            "--tools".as_ref(),
            tools.as_ref(),
        ];
        let command = command.into_iter().chain(["--address-file".as_ref(), file.as_os_str()]);
        let manner_argument = match manner {
            Manner::Bare => None,
            Manner::Session => Some("--sessions".as_ref()),
            Manner::Sessionless => Some("--sessionless".as_ref()),
        };
        let command = command.chain(manner_argument);
        let mut program = Program::start("backend", false, self.folder.path(), &self.places.load, &[], command)?;
        let address = program
            .wait_for("an address", START, async || {
                std::fs::read_to_string(&file).ok()?.parse::<SocketAddr>().ok()
            })
            .await?;
        let endpoint = Endpoint {
            address,
            path: "/mcp".to_owned(),
            manner,
        };
        Ok(Running {
            pid: program.pid()?,
            program,
            endpoint,
            tool: "echo".to_owned(),
            counter: None,
        })
    }

    /// Starts nginx with one worker in front of `backend`; it serves `file` as the answer to any POST to `/list`
    /// (through its own memory) and `/list-by-kernel` (by `sendfile`). `None` when there is no nginx.
    ///
    /// # Errors
    /// When nginx does not start.
    pub(crate) async fn nginx(
        &self,
        cores: &[usize],
        backend: &Endpoint,
        file: &[u8],
    ) -> anyhow::Result<Option<Running>> {
        let Some((nginx, _)) = &self.nginx else { return Ok(None) };
        // nginx cannot pick a port and tell which; one that is free now is still free a moment later, on loopback.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = self.folder.path().join(format!("nginx-{}", address.port()));
        std::fs::create_dir_all(folder.join("static"))?;
        for name in ["list", "list-by-kernel"] {
            std::fs::write(folder.join("static").join(name), file)?;
        }
        let configuration = folder.join("nginx.conf");
        std::fs::write(&configuration, nginx_configuration(&folder, address, backend.address))?;
        let command = [
            nginx.as_os_str(),
            "-e".as_ref(),
            "stderr".as_ref(),
            "-p".as_ref(),
            folder.as_os_str(),
        ];
        let command = command.into_iter().chain(["-c".as_ref(), configuration.as_os_str()]);
        let mut program = Program::start("nginx", true, self.folder.path(), cores, &[], command)?;
        let master = program.pid()?;
        let pid = program
            .wait_for("worker that listens", START, async || {
                TcpStream::connect(address).await.ok()?;
                account::children(master).ok()?.first().copied()
            })
            .await?;
        let endpoint = Endpoint {
            address,
            ..backend.clone()
        };
        let tool = "echo".to_owned();
        Ok(Some(Running {
            program,
            pid,
            endpoint,
            tool,
            counter: None,
        }))
    }

    /// Starts the proxy with `workers` worker threads (none: its default) and waits until it lists the backend's tools.
    ///
    /// # Errors
    /// When it does not start, or does not see its backend.
    pub(crate) async fn proxy(
        &self,
        cores: &[usize],
        workers: Option<usize>,
        behind: Behind<'_>,
        tools: usize,
    ) -> anyhow::Result<Running> {
        let proxy = self.proxy.as_ref().context("there is no proxy to start")?;
        self.proxy_program(proxy, cores, workers, behind, tools).await
    }

    /// The program that counts its allocations, if it was built.
    pub(crate) fn counting_proxy(&self) -> Option<PathBuf> {
        let path = std::env::current_exe()
            .ok()?
            .with_file_name("mcp-proxy-bench-allocations");
        path.is_file().then_some(path)
    }

    /// The same with another program that takes `--config FILE` and says where it listens.
    ///
    /// # Errors
    /// When it does not start, or does not see its backend.
    pub(crate) async fn proxy_program(
        &self,
        proxy: &Path,
        cores: &[usize],
        workers: Option<usize>,
        behind: Behind<'_>,
        tools: usize,
    ) -> anyhow::Result<Running> {
        let file = self.folder.path().join("proxy.toml");
        std::fs::write(&file, self.proxy_configuration(workers, behind)?)?;
        let command = [proxy.as_os_str(), "--config".as_ref(), file.as_os_str()];
        let quiet = [("RUST_LOG", "info")];
        let mut program = Program::start("mcp-proxy", false, self.folder.path(), cores, &quiet, command)?;
        let log = self.folder.path().join("mcp-proxy.stderr");
        let (address, counter) = program
            .wait_for("address in the log", START, async || listening(&log))
            .await?;
        let endpoint = Endpoint {
            address,
            path: "/mcp".to_owned(),
            manner: Manner::Session,
        };
        program
            .wait_for("list of the backend's tools", START, async || {
                read_list(&endpoint).await.ok().filter(|(_, listed)| *listed >= tools)
            })
            .await?;
        Ok(Running {
            pid: program.pid()?,
            program,
            endpoint,
            // Behind the proxy, names carry the backend's namespace.
            tool: format!("{BACKEND}/echo"),
            counter,
        })
    }

    fn proxy_configuration(&self, workers: Option<usize>, behind: Behind<'_>) -> anyhow::Result<String> {
        let performance = workers
            .map(|workers| format!("[performance]\nworkers = {workers}\n"))
            .unwrap_or_default();
        let backend = match behind {
            Behind::Http(endpoint) => {
                format!(
                    "transport = \"http\"\nurl = \"http://{}{}\"\n",
                    endpoint.address, endpoint.path
                )
            }
            Behind::Stdio => {
                let bench = std::env::current_exe()?;
                let bench = bench
                    .to_str()
                    .context("the bench's own path is not UTF-8; move it to one that is")?;
                // The child would inherit the proxy's core, and take it away from the proxy.
                let mut arguments = launch_arguments(&self.places.load);
                arguments.extend([bench.to_owned(), "backend".to_owned(), "--stdio".to_owned()]);
                // A JSON array of strings is a TOML array too.
                let (bench, arguments) = (Value::from(bench), serde_json::to_string(&arguments)?);
                format!("transport = \"stdio\"\ncommand = {bench}\nargs = {arguments}\n")
            }
        };
        Ok(format!(
            "[proxy]\nname = \"bench\"\nshutdown_timeout_seconds = 2\n\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = 0\n\n\
             {performance}\n[observability]\nlog_level = \"info\"\njson_logs = true\n\n[[backends]]\nname = \"{BACKEND}\"\n{backend}"
        ))
    }
}

impl Running {
    /// A call of `echo` here, for a text of `bytes` bytes.
    pub(crate) fn call(&self, bytes: usize) -> Ask {
        let tool = self.tool.clone();
        Ask::Call { tool, bytes }
    }
}

/// The bound address, and that of the counters if there are any, from the log line that says so.
fn listening(log: &Path) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let log = std::fs::read_to_string(log).ok()?;
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|line| {
            // Depending on the log format, fields stand beside the message or in an object of their own.
            let fields = [&line, &line["fields"]];
            let fields = fields.into_iter().find(|fields| fields["message"] == "listening")?;
            let address = |name: &str| fields[name].as_str()?.parse().ok();
            Some((address("address")?, address("counter")))
        })
}

async fn nginx_version(nginx: &Path) -> Option<String> {
    let output = tokio::process::Command::new(nginx).arg("-v").output().await.ok()?;
    Some(
        String::from_utf8_lossy(&output.stderr)
            .trim()
            .trim_start_matches("nginx version: ")
            .to_owned(),
    )
}

/// A plain reverse proxy as an expert would set it up for this load: connections kept on both sides, no disk, no log.
fn nginx_configuration(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    // The worker of a master that runs as root would otherwise become `nobody`, who may not read the folder.
    #[cfg(unix)]
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    #[cfg(not(unix))]
    let user = "";
    format!(
        "{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  tcp_nodelay on;
  sendfile on;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  client_body_buffer_size 1m;
  client_max_body_size 8m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  open_file_cache max=10 inactive=1h;
  open_file_cache_valid 1h;
  upstream backend {{
    server {upstream};
    keepalive 256;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
  }}
  server {{
    listen {address} backlog=4096;
    root {folder}/static;
    default_type application/json;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      # A whole answer fits one buffer: at 200 kB that is a third cheaper than many small ones, at 64 B no dearer.
      proxy_buffer_size 256k;
      proxy_buffers 8 256k;
      proxy_busy_buffers_size 512k;
      proxy_max_temp_file_size 0;
    }}
    # Files are not served to POST; turning that refusal into the file itself costs next to nothing.
    location = /list {{ error_page 405 =200 $uri; sendfile off; output_buffers 1 1m; }}
    location = /list-by-kernel {{ error_page 405 =200 $uri; }}
  }}
}}
"
    )
}

/// The backend's name in the proxy's configuration.
const BACKEND: &str = "bench";
const START: Duration = Duration::from_secs(20);
