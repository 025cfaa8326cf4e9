//! Threads and programs under a seccomp filter, where chosen system calls fail or do nothing. Programs of x86_64, and under a profile
//! with a list for it of i686, too.
//!
//! A filter applies to the thread that installed it and to its child processes, and ends with them. A [`Profile`] is the filter of a
//! whole host, from a file in qemu/hosts.

pub mod calls;
pub(crate) mod filter;
mod i686;
pub(crate) mod listener;
mod probe;
mod profile;
mod supervisor;
pub mod trace;

pub use profile::Profile;

use super::on_thread;
use anyhow::Result;
use filter::{Architecture, Argument, Rules, rule};
use nix::libc;
use std::collections::BTreeMap;

/// Runs `work` on a thread where each of `calls` fails with ENOSYS, as on an old kernel.
pub fn run_without<T: Send>(calls: &[i64], work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    answering(calls, libc::ENOSYS, work)
}

/// Runs `work` on a thread where each of `calls` fails with `errno`. If `errno` is 0, the call does nothing and returns 0.
pub fn answering<T: Send>(
    calls: &[i64],
    errno: i32,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    run_filtered(rules, errno, work)
}

/// Runs `work` on a thread where an mprotect that requests PROT_EXEC fails with `errno`.
pub fn without_new_code<T: Send>(errno: i32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let rules = vec![rule(&[Argument::has(2, libc::PROT_EXEC)])?];
    run_filtered(BTreeMap::from([(libc::SYS_mprotect, rules)]), errno, work)
}

/// Runs `work` on a thread where netlink sockets, IP_PKTINFO and IPV6_RECVPKTINFO fail with EPERM.
pub fn without_netlink<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let option = |level, option| rule(&[Argument::is(1, level), Argument::is(2, option)]);
    let rules = BTreeMap::from([
        (
            libc::SYS_socket,
            vec![rule(&[Argument::is(0, libc::AF_NETLINK)])?],
        ),
        (
            libc::SYS_setsockopt,
            vec![
                option(libc::IPPROTO_IP, libc::IP_PKTINFO)?,
                option(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?,
            ],
        ),
    ]);
    run_filtered(rules, libc::EPERM, work)
}

/// Runs `work` on a thread where calls that match `rules` fail with `errno`.
fn run_filtered<T: Send>(
    rules: Rules,
    errno: i32,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let program = filter::refuse(rules, errno, Architecture::X86_64)?;
    on_thread(|| {
        filter::install(&program)?;
        work()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn filter_applies_to_child_processes_only() -> Result<()> {
        let id = || Ok(Command::new("id").arg("-u").output()?.stdout);
        let outside = id()?;
        assert_eq!(answering(&[libc::SYS_geteuid], 0, id)?, b"0\n");
        let uname = || Ok(Command::new("uname").status()?.success());
        assert!(!run_without(&[libc::SYS_uname], uname)?);
        assert!(uname()?);
        assert_eq!(id()?, outside);
        Ok(())
    }

    #[test]
    fn without_netlink_only_netlink_and_packet_info_fail() -> Result<()> {
        use nix::sys::socket::{
            AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt::Ipv4PacketInfo,
        };
        let open = |family| socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        let probe = || {
            let socket = open(AddressFamily::Inet)?;
            let has_packet_info = setsockopt(&socket, Ipv4PacketInfo, &true).is_ok();
            Ok((open(AddressFamily::Netlink).is_ok(), has_packet_info))
        };
        assert_eq!(probe()?, (true, true));
        assert_eq!(without_netlink(probe)?, (false, false));
        Ok(())
    }
}
