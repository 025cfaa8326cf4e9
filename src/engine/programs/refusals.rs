//! Calls that are refused: the reports of programs, versions and authentications that are not served, and the peers whose address
//! may be forged.

use super::super::Cx;
use crate::event::{Level, Line};
use crate::text::text;
use crate::wire::rpc::{Call, Reject};
use crate::wire::{nfs3, portmap};
use core::net::{IpAddr, Ipv6Addr};

/// Reports a call of a program, a version or an authentication that is not served.
pub(super) fn report(cx: &mut Cx<'_>, call: &Call<'_>, why: Reject) {
    /// NFS_ACL. Linux asks for it at each mount.
    const ACL_PROGRAM: u32 = 100_227;
    let mut about = Line::default();
    let (event, advice) = match (why, call.program) {
        (Reject::Version(..), nfs3::PROGRAM) if call.version == 4 => (
            text!("asks for NFS version 4, which is not served").warn(),
            text!("mount with vers=3 (macOS: never vers=4)"),
        ),
        (Reject::Version(..) | Reject::Program, program) => {
            about.number(program).text(" version ").number(call.version);
            // Clients of the portmapper try newer versions first.
            let is_usual = matches!(program, ACL_PROGRAM | portmap::PROGRAM);
            let level = if is_usual { Level::Debug } else { Level::Warn };
            let event = text!("asks for RPC program").at(level);
            (event, text!("not served"))
        }
        (Reject::UnknownFlavor, _) => (
            text!("cannot be authenticated").warn(),
            text!("its RPC authentication is neither sys nor none; mount with sec=sys"),
        ),
        _ => return,
    };
    cx.report(event, about.bytes(), advice);
}

/// Returns true for the addresses of loopback, of links and of private networks (RFC 1918, RFC 4193). An IPv4 address is mapped into
/// IPv6.
pub(super) fn is_near(peer: Ipv6Addr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private() || peer.is_link_local(),
        IpAddr::V6(peer) => {
            peer.is_loopback() || peer.is_unique_local() || peer.is_unicast_link_local()
        }
    }
}
