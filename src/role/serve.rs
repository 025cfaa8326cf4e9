//! `serve`: every role that has something to do, each in a process of its own. Takes the options of `nfs` and of `mdns`, and
//! announces what is exported.

#[cfg(feature = "mdns")]
use super::DONE;
#[cfg(all(feature = "mdns", feature = "sftp-server"))]
use super::args::socket;
use super::flags::Flags;
#[cfg(feature = "mdns")]
use super::flags::flags;
#[cfg(feature = "mdns")]
use super::mdns;
use super::{Console, Fatal, nfs};
use crate::drive::linux::supervisor::{self, Child};
use crate::drive::{Task, linux};
use crate::mem;
use crate::net::Signals;
use crate::sys::{Args, BUILD_ID_BYTES};
use crate::text::{Text, text};
use crate::vfs::Tree;
#[cfg(feature = "mdns")]
use core::cell::Cell;
#[cfg(all(feature = "mdns", feature = "sftp-server"))]
use core::net::SocketAddr;

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: Text =
    text!("  serve --export DIR ...\tthe same, started again when it ends\n");

#[cfg(feature = "mdns")]
flags! {
    enum Flag {
        bare {
            NoMdns "--no-mdns",
            // Not in --help: what a machine without processes does, rehearsed on one that has them.
            OneProcess "--one-process",
        }
        valued {
            #[cfg(feature = "sftp-server")]
            Sftp "--sftp" => "name ADDRESS:PORT, such as 127.0.0.1:2222",
        }
    }
}

/// Those of `nfs`, its own, and those of `mdns`.
const FLAGS: Flags = Flags {
    #[cfg(feature = "mdns")]
    more: Some(&Flags {
        more: Some(&mdns::FLAGS),
        ..Flag::table(&[])
    }),
    ..nfs::FLAGS
};

/// A task that is served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nfs,
    #[cfg(feature = "mdns")]
    Mdns,
    #[cfg(all(feature = "mdns", feature = "sftp-server"))]
    Sftp,
}

/// Tasks that are served.
const KIND_COUNT: usize = 3;

/// A loop in a process of its own for each, so that a stalled disk leaves the others' timing alone.
const LOOPS: [&[Kind]; if cfg!(feature = "mdns") { 2 } else { 1 }] = [
    &[Kind::Nfs],
    #[cfg(feature = "mdns")]
    &[Kind::Mdns],
];

/// All in one loop.
#[cfg(feature = "mdns")]
const ONE_LOOP: &[Kind] = &[
    Kind::Nfs,
    Kind::Mdns,
    #[cfg(feature = "sftp-server")]
    Kind::Sftp,
];

/// What the arguments ask for.
struct Served<'a> {
    build_id: &'a [u8; BUILD_ID_BYTES],
    nfs: &'static nfs::Options,
    /// `None`: nothing is announced, or another loop does it.
    #[cfg(feature = "mdns")]
    mdns: Cell<Option<&'static mut mdns::Options>>,
    /// Where SFTP listens.
    #[cfg(all(feature = "mdns", feature = "sftp-server"))]
    sftp: Option<SocketAddr>,
    signals: Signals,
}

impl Served<'_> {
    /// Runs tasks in one loop until the process is asked to stop.
    fn run(&self, kinds: &[Kind]) -> Result<(), Fatal> {
        let mut tasks = heapless::Vec::<_, KIND_COUNT>::new();
        let tree = Tree::leaked();
        for kind in kinds {
            if let Some(task) = self.task(*kind, tree)? {
                let _ = tasks.push(task);
            }
        }
        linux::serve(&mut tasks, tree, Console::leak(), self.signals)
    }

    /// The task of this kind, if it is asked for, and its files in the tree.
    fn task(&self, kind: Kind, tree: &mut Tree) -> Result<Option<&'static mut dyn Task>, Fatal> {
        Ok(match kind {
            Kind::Nfs => Some(nfs::task(self.nfs, self.build_id, tree)?),
            #[cfg(feature = "mdns")]
            Kind::Mdns => match self.mdns.take() {
                Some(options) => {
                    let exports: mdns::Source<'_> = &|add| announce_exports(self.nfs, add);
                    Some(mdns::task(options, exports)?)
                }
                None => None,
            },
            #[cfg(all(feature = "mdns", feature = "sftp-server"))]
            Kind::Sftp => match self.sftp {
                Some(at) => Some(super::sftp_server::task(at, tree)?),
                None => None,
            },
        })
    }
}

/// Serves until the process is asked to stop.
#[inline(never)]
pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
    let options = mem::leak(nfs::Options::default());
    #[cfg(feature = "mdns")]
    let announced = mdns::Options::none();
    #[cfg(feature = "mdns")]
    let (mut is_silent, mut is_one_process) = (false, false);
    #[cfg(all(feature = "mdns", feature = "sftp-server"))]
    let mut sftp = None;
    // Wrong usage is said once, also when a role is to be started again and again.
    FLAGS.read(args, &mut |given| match given.table {
        0 => options.set(nfs::Flag::of(given.number)?, given.value),
        #[cfg(feature = "mdns")]
        2 => announced.set(mdns::Flag::of(given.number)?, given.value),
        #[cfg(feature = "mdns")]
        1 => {
            match Flag::of(given.number)? {
                Flag::NoMdns => is_silent = true,
                Flag::OneProcess => is_one_process = true,
                #[cfg(feature = "sftp-server")]
                Flag::Sftp => {
                    let (host, port) = socket(given.value.to_bytes())?;
                    sftp = Some(SocketAddr::new(host.to_canonical(), port));
                }
            }
            Some(())
        }
        _ => None,
    })?;
    options.check()?;
    #[cfg(feature = "mdns")]
    announced.check()?;
    // What only this host can reach is not for others to know.
    #[cfg(feature = "mdns")]
    let is_silent = is_silent || options.at.ip().to_canonical().is_loopback();
    #[cfg(feature = "mdns")]
    let signals = announced.signals();
    #[cfg(not(feature = "mdns"))]
    let signals = Signals::default();
    let served = Served {
        build_id,
        nfs: options,
        #[cfg(feature = "mdns")]
        mdns: Cell::new((!is_silent).then_some(announced)),
        #[cfg(all(feature = "mdns", feature = "sftp-server"))]
        sftp,
        signals,
    };
    #[cfg(feature = "mdns")]
    if is_one_process {
        return served.run(ONE_LOOP);
    }
    let mut loops = [
        Child::new("nfs", false),
        #[cfg(feature = "mdns")]
        Child::new("mdns", signals.reload),
    ];
    // The last is the one that can be left out.
    #[cfg(not(feature = "mdns"))]
    let is_silent = false;
    let loops = loops.get_mut(..LOOPS.len() - usize::from(is_silent));
    let run = |number| served.run(LOOPS.get(number).copied().unwrap_or_default());
    supervisor::run(loops.unwrap_or_default(), &run, &mut Console)
}

/// Whether the arguments ask for one loop, which needs the memory of all roles.
#[cfg(feature = "mdns")]
pub(super) fn is_one_process(mut args: Args) -> bool {
    args.any(|argument| argument == c"--one-process")
}

/// Hands out each export as a service. Where NFS takes any port that is free, nobody knows it here.
#[cfg(feature = "mdns")]
fn announce_exports(
    options: &nfs::Options,
    add: &mut dyn FnMut(&crate::wire::announce::Service<'_>),
) {
    use crate::mem::Ends as _;
    use crate::wire::Writer;
    use crate::wire::announce::{Flaw, HOST, STRING_BYTES_MAX};
    if options.at.port() == 0 {
        return;
    }
    for wanted in &options.exports {
        let path = wanted.path.to_bytes();
        let mut buffer = [0; 1 + STRING_BYTES_MAX];
        let mut txt = Writer::new(&mut buffer);
        txt.put(&[(b"path=".len() + path.len()) as u8]);
        txt.put(b"path=");
        txt.put(path);
        let Some(len) = txt.written() else {
            let what = text!("left out");
            super::complain(DONE, what, path, mdns::advice(Flaw::String));
            continue;
        };
        let mut name = [0; 2 + STRING_BYTES_MAX];
        let mut named = Writer::new(&mut name);
        // As clients write it.
        named.put(&[HOST, b':']);
        named.put(path);
        let name_len = named.position();
        add(&crate::wire::announce::Service {
            name: name.head(name_len),
            ..mdns::plain(b"_nfs._tcp", options.at.port(), buffer.head(len))
        });
    }
}
