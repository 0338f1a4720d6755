//! `cargo xtask peers`: the real MCP programs that the tests talk to, installed below `target/peers`.
//!
//! A proxy is not proven by a test in which we play both sides. So clients, servers and the conformance suite of other
//! people come from their registries, every version pinned by a lock in `xtask/peers`. They come in [parts](part::PARTS),
//! each with its lock, installed at the same time; a part whose stamp names the hash of its lock is left alone, so a second
//! run takes no time. `MCP_PROXY_PEERS_CACHE` names a folder outside the clone where the parts are kept instead, by hash,
//! for several clones to share.
//!
//! After installing, each program is [started once](probe): what does not start is as good as absent. What is there is
//! written to `target/peers/peers.json` for the tests, see [`Inventory`].

mod inventory;
mod node;
mod part;
mod probe;
mod program;
mod python;
mod store;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use inventory::Inventory;

use crate::step::Stopwatch;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print on stdout what is there and what is missing, as JSON (the text of target/peers/peers.json).
    #[arg(long)]
    json: bool,
    /// Start every program again, also of parts that were found in order before.
    #[arg(long)]
    verify: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let inventory = install(&workspace, args.verify)?;
    if args.json {
        println!("{}", inventory.to_json());
    } else {
        inventory.print();
    }
    Ok(match inventory.complete() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Installs what is not there yet and says what there is. A part that fails is in the inventory with its reason.
///
/// # Errors
/// When nothing can be said at all: the folder of the peers cannot be written, or the locks cannot be read.
pub(crate) fn install(workspace: &Workspace, verify: bool) -> Result<Inventory> {
    let clock = Stopwatch::start();
    let store = store::Store::open(workspace)?;
    let parts = std::thread::scope(|scope| {
        let running: Vec<_> = part::PARTS
            .iter()
            .map(|part| {
                let store = &store;
                scope.spawn(move || part.bring_up(store, verify))
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>>>()
    })?;
    let inventory = Inventory::new(parts);
    inventory.write(&store.inventory_file())?;
    eprintln!(
        "peers: {} there, {} missing, {}",
        inventory.present().count(),
        inventory.missing().count(),
        clock.spent()
    );
    Ok(inventory)
}
