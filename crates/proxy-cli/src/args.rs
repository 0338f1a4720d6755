//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// A reverse proxy for the Model Context Protocol: many MCP servers behind one endpoint
///
/// Without a command it serves the configuration in proxy.toml.
#[derive(Debug, Parser)]
#[command(name = "mcp-proxy", version, args_conflicts_with_subcommands = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Check the configuration and exit: the same as the command `check`
    #[arg(long)]
    pub(crate) check: bool,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// The configuration file, TOML or (ending in .yaml) YAML
    #[arg(
        long,
        short,
        global = true,
        value_name = "PATH",
        default_value = "proxy.toml",
        env = "MCP_PROXY_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: PathBuf,

    /// Run the servers of a .mcp.json with nothing else configured
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "import_mcp_json")]
    pub(crate) from_mcp_json: Option<PathBuf>,

    /// Add the servers of a .mcp.json to the configuration; on equal names the configuration wins
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) import_mcp_json: Vec<PathBuf>,

    /// Set a key above all other sources, such as proxy.listen.port=9000
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the configuration (the default)
    Serve,
    /// Be one MCP server on standard input and output, for applications that start their servers
    Stdio,
    /// Report everything that is wrong with the configuration; connect to nothing
    Check(Check),
    /// Show the tools, resources and prompts of a server
    List(List),
    /// Call a tool
    Call(Call),
    /// Write a first configuration, with comments
    Init(Init),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Default, Args)]
pub(crate) struct Check {
    /// Write JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,

    /// Show the layers that each call goes through
    #[arg(long)]
    pub(crate) stack: bool,

    /// Connect to every enabled backend, and fail when one does not answer
    #[arg(long)]
    pub(crate) connect: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// A URL (http, https, ws, wss), or the name of a backend in the configuration; all backends when left out
    pub(crate) target: Option<String>,

    #[command(flatten)]
    pub(crate) credential: Credential,

    /// Write JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// A URL, or the name of a backend in the configuration
    pub(crate) target: String,

    /// The name of the tool
    pub(crate) tool: String,

    /// Arguments: key=value; numbers, true, false, null, lists and objects are read as JSON
    #[arg(value_name = "KEY=VALUE", value_parser = pair, conflicts_with = "args")]
    pub(crate) arguments: Vec<(String, String)>,

    /// All arguments as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) args: Option<String>,

    #[command(flatten)]
    pub(crate) credential: Credential,

    /// Write the result as JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a URL may ask for. A configured backend has its own.
#[derive(Debug, Default, Args)]
pub(crate) struct Credential {
    /// Sent to a URL as `Authorization: Bearer …`; other processes can see it, so better use the variable
    #[arg(long, value_name = "TOKEN", env = "MCP_PROXY_BEARER_TOKEN", hide_env_values = true)]
    pub(crate) bearer_token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The file to write; `-` for standard output
    #[arg(default_value = "proxy.toml")]
    pub(crate) path: PathBuf,

    /// What the proxy calls itself; default: the name of the folder
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// The port to listen on
    #[arg(long)]
    pub(crate) port: Option<u16>,

    /// A backend that is a program; its arguments are split at spaces
    #[arg(long, value_name = "NAME=COMMAND", value_parser = pair)]
    pub(crate) stdio: Vec<(String, String)>,

    /// A backend that answers over HTTP
    #[arg(long, value_name = "NAME=URL", value_parser = pair)]
    pub(crate) http: Vec<(String, String)>,

    /// A .mcp.json whose servers become backends too; the path counts from the folder of the new file
    #[arg(long, value_name = "PATH")]
    pub(crate) import: Option<PathBuf>,

    /// Overwrite the file
    #[arg(long)]
    pub(crate) force: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
