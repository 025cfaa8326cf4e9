//! Threads with a seccomp filter under which chosen system calls fail or do nothing.
//!
//! A filter applies to the thread that installed it and to its child processes, and ends with them. x86_64 only.

use anyhow::{Context, Result};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
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
    let execute = u64::from(libc::PROT_EXEC.cast_unsigned());
    let is_asked = SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(execute),
        execute,
    )?;
    let rules = vec![SeccompRule::new(vec![is_asked])?];
    run_filtered(BTreeMap::from([(libc::SYS_mprotect, rules)]), errno, work)
}

/// Runs `work` on a thread where netlink sockets, IP_PKTINFO and IPV6_RECVPKTINFO fail with EPERM.
pub fn without_netlink<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let equals = |argument, value: i32| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let netlink = vec![SeccompRule::new(vec![equals(0, libc::AF_NETLINK)?])?];
    let options = [
        (libc::IPPROTO_IP, libc::IP_PKTINFO),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    ];
    let rule = |(level, option)| {
        Ok(SeccompRule::new(vec![
            equals(1, level)?,
            equals(2, option)?,
        ])?)
    };
    let packet_info = options.into_iter().map(rule);
    let rules = BTreeMap::from([
        (libc::SYS_socket, netlink),
        (libc::SYS_setsockopt, packet_info.collect::<Result<_>>()?),
    ]);
    run_filtered(rules, libc::EPERM, work)
}

/// Runs `work` on a thread where calls that match `rules` fail with `errno`.
fn run_filtered<T: Send>(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        TargetArch::x86_64,
    )?;
    let program: BpfProgram = filter
        .try_into()
        .context("cannot compile the seccomp filter")?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            apply_filter(&program).context("the kernel rejected the seccomp filter")?;
            work()
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
