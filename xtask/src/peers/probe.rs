//! Starting a program once after its installation, to see that it does what the tests count on.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::program::{FOLDER, Probe, Program};
use super::store::Store;
use super::{node, python};
use crate::process::{run_logged, tail};

/// Longest wait for one answer. A first start compiles a good deal of Python on a busy machine.
const ANSWER: Duration = Duration::from_secs(90);

/// Starts a program of the part in `home` as its [`Probe`] says.
///
/// # Errors
/// When it does not do what it should; the message quotes what it said instead.
pub(crate) fn probe(program: &Program, start: &[PathBuf], home: &Path, store: &Store) -> Result<()> {
    let folder = store.scratch(program.name)?;
    let log = folder.with_extension("log");
    File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(&start[0]);
    command.args(&start[1..]).current_dir(&folder);
    let with_arguments = |command: &mut Command, args: &[&str]| {
        for arg in args {
            if *arg == FOLDER {
                command.arg(&folder);
            } else {
                command.arg(arg);
            }
        }
    };
    match program.probe {
        Probe::Ends(args) => {
            with_arguments(&mut command, args);
            run_logged(&mut command, &log, ANSWER)
        }
        Probe::Imports(modules) if program.part == "node" => {
            // Node looks for the modules of a script without a file in the folder it runs in.
            run_logged(command.args(node::import(modules)).current_dir(home), &log, ANSWER)
        }
        Probe::Imports(modules) => run_logged(command.args(python::import(modules)), &log, ANSWER),
        Probe::Initialize(args) => {
            with_arguments(&mut command, args);
            initialize(&mut command, &log)
        }
        Probe::InitializeInGit(args) => {
            run_logged(Command::new("git").args(["init", "--quiet"]).arg(&folder), &log, ANSWER)
                .context("git is needed for this server (on Debian and Ubuntu: apt-get install -y git)")?;
            with_arguments(&mut command, args);
            initialize(&mut command, &log)
        }
    }
}

/// Sends `initialize` on stdin and waits for its result on stdout.
fn initialize(command: &mut Command, log: &Path) -> Result<()> {
    let request = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "mcp-proxy-peers", "version": "1"},
        },
    });
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::options().append(true).open(log)?)
        .spawn()
        .context("cannot start it")?;
    let mut child = KillOnDrop(child);
    let mut stdin = child.0.stdin.take().context("a child without stdin")?;
    let stdout = child.0.stdout.take().context("a child without stdout")?;
    writeln!(stdin, "{request}").context("it closed its stdin at once")?;
    // A read cannot be given a limit, so another thread reads; it ends with the child, whose pipe closes then.
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let answer = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find_map(answer_to_1);
        let _ = sender.send(answer); // nobody waits any more when the time was over
    });
    match receiver.recv_timeout(ANSWER) {
        Ok(Some(answer)) if answer["result"]["protocolVersion"].is_string() => Ok(()),
        Ok(Some(answer)) => bail!("it refused `initialize`: {}", answer["error"]),
        Ok(None) => bail!("it ended without an answer to `initialize`{}", tail(log)),
        Err(_) => bail!("it did not answer `initialize` within {ANSWER:?}{}", tail(log)),
    }
}

/// The answer to our request among whatever else a server says first.
fn answer_to_1(line: String) -> Option<Value> {
    serde_json::from_str::<Value>(&line)
        .ok()
        .filter(|message| message["id"] == 1)
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Both fail only for a child that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
