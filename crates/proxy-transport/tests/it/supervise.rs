//! The supervisor by itself: what it reports, and who is left when it is done.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::processes::{Mark, example};

fn start(mark: &Mark, command: &[&str]) -> Child {
    Command::new(example())
        .args(["__supervise", "--"])
        .args(command)
        .env(Mark::NAME, mark.value())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn ready(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
}

/// What the supervisor reports of a command that ends by itself.
async fn check(command: &[&str], code: i32, complaint: &str) {
    let mark = Mark::new(&format!("code-{code}"));
    let output = start(&mark, command).wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(complaint), "{command:?}: {stderr:?}");
    assert_eq!(mark.alive(), [0; 0]);
}

#[tokio::test]
async fn the_status_of_the_command_is_passed_on() {
    check(&["true"], 0, "").await;
    check(&["sh", "-c", "echo oh >&2; exit 3"], 3, "oh").await;
    check(&["sh", "-c", "kill -TERM $$"], 143, "").await;
    check(&["no-such-command"], 127, "mcp-proxy supervisor: cannot start").await;
    check(&["/"], 126, "mcp-proxy supervisor: cannot start").await;
    check(&[], 2, "mcp-proxy supervisor: no command").await;
}

/// Ends a supervisor in some way and gives its status. How it went is told by the status; the limit only ends a test that hangs.
async fn end(mark: &Mark, script: &str, how: impl FnOnce(&mut Child)) -> ExitStatus {
    let mut child = start(mark, &["sh", "-c", script]);
    ready(&mut child).await;
    how(&mut child);
    // `wait` closes the input first, so it is held here.
    let input = child.stdin.take();
    let status = tokio::time::timeout(HANG, child.wait())
        .await
        .expect("it ends")
        .unwrap();
    drop(input);
    assert_eq!(mark.alive(), [0; 0], "{script}");
    status
}

/// Far above the longest stop.
const HANG: Duration = Duration::from_secs(60);

fn close_input(child: &mut Child) {
    child.stdin = None;
}

fn terminate(child: &mut Child) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
}

#[tokio::test]
async fn a_polite_command_ends_with_its_input() {
    let mark = Mark::new("polite");
    let status = end(&mark, "echo ready; cat >/dev/null; exit 7", close_input).await;
    assert_eq!(status.code(), Some(7));
}

#[tokio::test]
async fn sigterm_is_passed_on() {
    let mark = Mark::new("sigterm");
    let status = end(&mark, "echo ready; exec sleep 1000", terminate).await;
    assert_eq!((status.code(), status.signal()), (Some(143), None));
}

#[tokio::test]
async fn a_command_that_ignores_everything_is_killed() {
    let mark = Mark::new("ignores");
    let script = r#"trap "" TERM HUP INT; echo ready; while :; do sleep 1000; done"#;
    let status = end(&mark, script, close_input).await;
    assert_eq!(status.code(), Some(137));
}

#[tokio::test]
async fn daemons_do_not_escape() {
    let mark = Mark::new("daemons");
    // Twice forked, in sessions of their own, one of them deaf to SIGTERM; the command itself ends at once.
    let script = r#"
        setsid sh -c 'trap "" TERM; sh -c "trap \"\" TERM; sleep 1000" >/dev/null 2>&1 & ' &
        setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 &
        echo ready; exit 5"#;
    let status = end(&mark, script, |_| {}).await;
    assert_eq!(status.code(), Some(5));
}
