//! The role `boot`: `serve` of a directory of ISO images, with HTTP, and a server that names loaders by proxyDHCP and serves them by
//! TFTP.

mod options;
mod task;

use super::{DONE, Fatal, complain, http, network, refuse_usage, serve};
use crate::drive::platform::host::loops;
use crate::mem;
use crate::sys::{self, Args, BUILD_ID_BYTES};
use crate::text::{Text, text};
use core::net::Ipv6Addr;
use options::Options;
pub(super) use options::{FLAGS, Flag};

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  boot DIR\t\tboots machines from a directory of ISO images\n");
/// The port of HTTP if the usual one is in use.
const OTHER_PORT: u16 = 8080;

const HELP: &[Text] = &[text!(include_str!("help.txt")), network::HELP];

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
    let served = serve::arguments();
    let options = mem::leak(Options::default());
    served.network = network::parse(&FLAGS, args, &mut |given| options.set(served, given))?;
    let exports = &mut served.nfs.exports;
    let is_bare = sys::is_bare();
    if !exports.has_images() && !is_bare {
        let what = text!("a directory of ISO images is missing");
        return Err(refuse_usage(what, b"", Text::NOTHING));
    }
    options.is_own_stack = served.network.is_own();
    served.beside = Some(options);
    served.http.is_asked = true;
    if !is_bare {
        options::add_packages(exports);
        choose_port(&mut served.http);
    }
    serve::complete(served)?;
    serve::start(served, build_id)
}

/// Chooses port 8080 for HTTP if the usual port is in use.
fn choose_port(http: &mut http::Options) {
    let usual = http.port();
    let at = (Ipv6Addr::UNSPECIFIED, usual).into();
    if loops::is_in_use(at) {
        http.set_default_port(OTHER_PORT);
        if http.port() != usual {
            let why = text!("HTTP uses 8080, which is in all URLs");
            complain(DONE, text!("port 80 is in use"), b"", why);
        }
    }
}
