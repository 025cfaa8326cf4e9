//! The role `http`: serves directories over HTTP, to read, with the exports of NFS. RFC 9110, RFC 9112.

mod options;
mod task;
mod urls;

use super::nfs;
use super::{Console, DONE, Fatal, complain, network};
use crate::drive::{Tasks, platform};
use crate::engine::http::Script;
use crate::exports;
use crate::mem;
use crate::net::Signals;
use crate::sys::Args;
use crate::text::{Text, text};
use options::Arguments;

pub(super) use options::default_port;
pub(super) use options::{FLAGS, Options};
pub(super) use options::{Flag, Shared};
pub(super) use task::{Kind, add_tasks};

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text = text!("  http DIR\t\tserves a directory over HTTP, to read\n");
const HELP: &[Text] = &[text!(include_str!("help.txt")), super::network::HELP];

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(args: Args) -> Result<(), Fatal> {
    let arguments = mem::leak(Arguments::default());
    arguments.http.is_asked = true;
    arguments.nfs.exports.list.reserve(args.remaining_count());
    let network = network::read(&FLAGS, args, &mut |given| arguments.set(given))?;
    let Arguments { http, nfs } = &*arguments;
    nfs.exports.check()?;
    http.check(nfs)?;
    let tree = platform::tree();
    if nfs.tests {
        return exports::show(&nfs.exports, tree);
    }
    nfs.check_directories()?;
    if let Some(path) = nfs.exports.writable() {
        let why = text!("HTTP only reads; nfs, serve and sftp-server write");
        complain(DONE, text!("rw has no effect on"), path.to_bytes(), why);
    }
    nfs.background.run(&mut || {
        let mut tasks = Tasks::new();
        let script = Script::new(http.port(), false);
        let kind = (Kind::Alone, script);
        add_tasks(http, nfs, kind, &network, tree, &mut tasks)?;
        platform::serve(
            "http",
            &network,
            &mut tasks,
            tree,
            Console::leak(),
            Signals::RELOAD,
        )
    })
}
