//! `init`: writes a first configuration with comments, from flags or, at a terminal, from a few questions.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use mcp_proxy::config::{Environment, Format, Loader};
use mcp_proxy::plan::Plan;

use crate::args::Init;
use crate::output::{Failure, complain, print};

pub(crate) fn run(init: &Init) -> Result<(), Failure> {
    let to_stdout = init.path == Path::new("-");
    if !to_stdout && !init.force && init.path.exists() {
        return Err(exists(&init.path));
    }
    let folder = std::env::current_dir().unwrap_or_default();
    let fallback = folder
        .file_name()
        .map_or("mcp-proxy".into(), |name| name.to_string_lossy());
    let mut wishes = Wishes {
        name: init.name.clone().unwrap_or_else(|| fallback.into_owned()),
        port: init.port.unwrap_or(8080),
        stdio: init.stdio.clone(),
        http: init.http.clone(),
        import: init.import.clone(),
    };
    let no_flags = init.name.is_none() && init.port.is_none() && wishes.is_empty();
    let is_here = init.path.parent() == Some(Path::new(""));
    if no_flags && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        interview(&mut wishes, is_here)?;
    }
    let text = wishes.text();
    verify(&text, &wishes)?;
    if to_stdout {
        return print(&text);
    }
    write(&init.path, &text, init.force)?;
    let path = init.path.display();
    let config = if init.path == Path::new("proxy.toml") {
        String::new()
    } else {
        format!(" --config {path}")
    };
    complain(&format!("wrote {path}; start it with: mcp-proxy{config}\n"));
    Ok(())
}

/// What the configuration shall say.
#[derive(Debug)]
struct Wishes {
    name: String,
    port: u16,
    stdio: Vec<(String, String)>,
    http: Vec<(String, String)>,
    import: Option<PathBuf>,
}

impl Wishes {
    fn is_empty(&self) -> bool {
        self.stdio.is_empty() && self.http.is_empty() && self.import.is_none()
    }

    fn text(&self) -> String {
        let mut out = format!(
            "# mcp-proxy: many MCP servers behind one endpoint. Every key is in docs/configuration.md;\n\
             # `mcp-proxy check` finds what is wrong with this file.\n\n\
             [proxy]\nname = {}\n\
             # Between a backend's name and the name of its tool: `files__read_file`.\nseparator = \"__\"\n",
            quoted(&self.name)
        );
        if let Some(path) = &self.import {
            let _ = writeln!(
                out,
                "# The servers of this file are backends too.\nimport_backends = {}",
                quoted(&path.to_string_lossy())
            );
        }
        let _ = writeln!(
            out,
            "\n[proxy.listen]\n# Only this machine reaches 127.0.0.1. For others: host = \"0.0.0.0\" and allowed_hosts = [\"…\"].\n\
             host = \"127.0.0.1\"\nport = {}",
            self.port
        );
        for (name, command) in &self.stdio {
            let mut words = command.split_whitespace();
            let program = words.next().unwrap_or_default();
            let args: Vec<String> = words.map(quoted).collect();
            let _ = writeln!(
                out,
                "\n[[backends]]\nname = {}\ntransport = \"stdio\"\ncommand = {}\nargs = [{}]\n\
                 # A secret comes from the environment or a file: env = {{ TOKEN = \"${{TOKEN}}\" }}",
                quoted(name),
                quoted(program),
                args.join(", ")
            );
        }
        for (name, url) in &self.http {
            let _ = writeln!(
                out,
                "\n[[backends]]\nname = {}\ntransport = \"http\"\nurl = {}\n\
                 # A secret comes from the environment or a file: bearer_token = \"${{TOKEN}}\"",
                quoted(name),
                quoted(url)
            );
        }
        if self.is_empty() {
            out += "\n# A demonstration server inside the proxy; replace it by servers of your own, such as\n\
                    #\n# [[backends]]\n# name = \"files\"\n# transport = \"stdio\"\n# command = \"npx\"\n\
                    # args = [\"-y\", \"@modelcontextprotocol/server-filesystem\", \".\"]\n\
                    [[backends]]\nname = \"demo\"\ntransport = \"builtin\"\n";
        }
        out += "\n[observability]\n# error, warn, info, debug or trace; the variable RUST_LOG wins.\nlog_level = \"info\"\n";
        out
    }
}

/// What is written must load: a name that no backend can have is told now.
fn verify(text: &str, wishes: &Wishes) -> Result<(), Failure> {
    let mut checked = text.to_owned();
    if let Some(path) = &wishes.import {
        // The path counts from the new file's folder, which need not be the current one.
        checked = checked.replace(&format!("import_backends = {}\n", quoted(&path.to_string_lossy())), "");
    }
    let loader = Loader::new().environment(Environment::Fixed(Default::default()));
    let plan = loader
        .parse(&checked, Format::Toml)
        .and_then(|config| Plan::from_config(&config));
    plan.map(drop).map_err(|errors| match errors.problems().first() {
        Some(problem) => {
            let message = format!("{}: {}", problem.key, problem.message);
            Failure::with_help(message, problem.remedy.clone().unwrap_or_default())
        }
        None => Failure::new(errors.to_string()),
    })
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let result = match force {
        // In one step: whoever reads the file meanwhile sees the old one or the new one.
        true => {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".new");
            let beside = PathBuf::from(beside);
            fs::write(&beside, text).and_then(|()| fs::rename(&beside, path))
        }
        false => OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes())),
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(Failure::new(format!("cannot write {}: {error}", path.display()))),
    }
}

fn exists(path: &Path) -> Failure {
    let message = format!("{} exists already", path.display());
    Failure::with_help(message, "name another file, or overwrite it with --force")
}

/// Asks for what the flags would have said.
fn interview(wishes: &mut Wishes, is_here: bool) -> Result<(), Failure> {
    complain("A few questions; Enter takes what is in brackets.\n\n");
    wishes.name = ask("What should clients call this proxy?", &wishes.name)?;
    loop {
        match ask("On which port should it listen?", &wishes.port.to_string())?.parse() {
            Ok(port) => {
                wishes.port = port;
                break;
            }
            Err(_) => complain("A port is a number up to 65535.\n"),
        }
    }
    if is_here && Path::new(".mcp.json").is_file() && ask("Use the servers of .mcp.json here?", "yes")?.starts_with('y')
    {
        wishes.import = Some(".mcp.json".into());
    }
    loop {
        let name = ask("The name of a server to add (nothing: no more)", "")?;
        if name.is_empty() {
            return Ok(());
        }
        let how = ask("Its URL, or the command that starts it", "")?;
        match how.as_str() {
            "" => complain("Nothing added.\n"),
            url if url.contains("://") => wishes.http.push((name, how)),
            _ => wishes.stdio.push((name, how)),
        }
    }
}

fn ask(question: &str, default: &str) -> Result<String, Failure> {
    match default {
        "" => complain(&format!("{question}: ")),
        default => complain(&format!("{question} [{default}]: ")),
    }
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) => Err(Failure::new("the questions were not answered; nothing was written")),
        Ok(_) => {
            let answer = line.trim();
            Ok(if answer.is_empty() { default } else { answer }.to_owned())
        }
        Err(error) => Err(Failure::new(format!("cannot read the answer: {error}"))),
    }
}

/// Text as TOML: what JSON escapes, TOML understands.
fn quoted(text: &str) -> String {
    // A dollar would begin a reference; what was typed is meant as it stands.
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}
