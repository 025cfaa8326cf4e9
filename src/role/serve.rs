//! `serve`: every role that has something to do, each in a process of its own. Takes the options of `nfs` and of `mdns`, and
//! announces what is exported.

use super::flags::Flags;
#[cfg(feature = "mdns")]
use super::flags::flags;
#[cfg(feature = "mdns")]
use super::mdns;
use super::{Console, DONE, FAILED, Status, nfs};
use crate::drive::linux;
use crate::drive::linux::supervisor::{self, Child};
use crate::mem;
use crate::sys::{Args, BUILD_ID_BYTES};
use crate::text::{Text, text};
use core::mem::ManuallyDrop;

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: Text =
    text!("  serve --export DIR ...\tthe same, started again when it ends\n");

#[cfg(feature = "mdns")]
flags! {
    enum Flag {
        bare {
            NoMdns "--no-mdns",
        }
        valued {}
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

/// Serves until the process is asked to stop.
#[inline(never)]
pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Status> {
    let options = mem::leak(nfs::Options::default());
    #[cfg(feature = "mdns")]
    let announced = mem::leak(mdns::Options::default());
    #[cfg_attr(not(feature = "mdns"), allow(unused_mut))]
    let mut is_silent = false;
    // Wrong usage is said once, also when a role is to be started again and again.
    FLAGS.read(args, &mut |given| match given.table {
        0 => options.set(nfs::Flag::of(given.number)?, given.value),
        #[cfg(feature = "mdns")]
        2 => announced.set(mdns::Flag::of(given.number)?, given.value),
        #[cfg(feature = "mdns")]
        1 => match Flag::of(given.number)? {
            Flag::NoMdns => {
                is_silent = true;
                Some(())
            }
        },
        _ => None,
    })?;
    options.check()?;
    // What only this host can reach is not for others to know.
    #[cfg(feature = "mdns")]
    let is_silent = is_silent || options.at.ip().to_canonical().is_loopback();
    #[cfg(feature = "mdns")]
    announced.check()?;
    #[cfg(feature = "mdns")]
    let signals = announced.signals();
    #[cfg(feature = "mdns")]
    let announced = core::cell::Cell::new(Some(announced));
    let options: &'static nfs::Options = options;
    // Each loop runs in a process of its own, where its task is made.
    let serve = || nfs::run(options, build_id);
    #[cfg(feature = "mdns")]
    let announce = || match announced.take() {
        Some(options_of_mdns) => {
            let exports: mdns::Source<'_> = &|add| announce_exports(options, add);
            let task = mdns::task(options_of_mdns, exports)?;
            linux::run(&mut [task], Console::events(), signals)
        }
        None => Err(FAILED),
    };
    let mut loops = [
        Child::new("nfs", &serve, false),
        #[cfg(feature = "mdns")]
        Child::new("mdns", &announce, signals.reload),
    ];
    // The last is the one that can be left out.
    let count = loops.len() - usize::from(is_silent);
    let loops = loops.get_mut(..count).unwrap_or_default();
    let mut events = ManuallyDrop::new(Console::events());
    match supervisor::run(loops, &mut events) {
        DONE => Ok(()),
        status => Err(status),
    }
}

/// Hands out each export as a service. Where NFS takes any port that is free, nobody knows it here.
#[cfg(feature = "mdns")]
#[inline(never)]
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
        let mut room = [0; 1 + STRING_BYTES_MAX];
        let mut txt = Writer::new(&mut room);
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
            ..mdns::plain(b"_nfs._tcp", options.at.port(), room.head(len))
        });
    }
}
