//! Poorer hosts: what is started in here finds that the kernel has not got some of its calls, or that they lie.
//!
//! A filter belongs to the thread that asked for it and to what it starts, and goes with them. x86_64 only.

use anyhow::{Context, Result};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;

/// Runs `work` on a thread for which the kernel does not know `calls`.
pub fn without<T: Send>(calls: &[i64], work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    answering(calls, libc::ENOSYS, work)
}

/// Runs `work` on a thread for which every one of `calls` fails with `errno`; 0 is success that did nothing and says 0.
pub fn answering<T: Send>(
    calls: &[i64],
    errno: i32,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    filtered(rules, errno, work)
}

/// Runs `work` on a thread for which memory that was written cannot become code: asked for that, mprotect fails.
pub fn without_new_code<T: Send>(errno: i32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let execute = u64::from(libc::PROT_EXEC.cast_unsigned());
    let is_asked = SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(execute),
        execute,
    )?;
    let rules = vec![SeccompRule::new(vec![is_asked])?];
    filtered(BTreeMap::from([(libc::SYS_mprotect, rules)]), errno, work)
}

/// Runs `work` on a thread that may neither ask the kernel about the net nor be told by which interface a packet came.
pub fn without_netlink<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let is = |argument, value: i32| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let netlink = vec![SeccompRule::new(vec![is(0, libc::AF_NETLINK)?])?];
    let options = [
        (libc::IPPROTO_IP, libc::IP_PKTINFO),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    ];
    let of_packets = |(level, option)| Ok(SeccompRule::new(vec![is(1, level)?, is(2, option)?])?);
    let of_packets = options.into_iter().map(of_packets);
    let rules = BTreeMap::from([
        (libc::SYS_socket, netlink),
        (libc::SYS_setsockopt, of_packets.collect::<Result<_>>()?),
    ]);
    filtered(rules, libc::EPERM, work)
}

/// Runs `work` on a thread for which calls that these rules meet fail.
fn filtered<T: Send>(
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
    let program: BpfProgram = filter.try_into().context("cannot make a filter")?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            apply_filter(&program).context("the kernel takes no filter")?;
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
    fn what_is_started_inside_misses_a_call_and_what_is_outside_does_not() -> Result<()> {
        let id = || Ok(Command::new("id").arg("-u").output()?.stdout);
        let outside = id()?;
        assert_eq!(answering(&[libc::SYS_geteuid], 0, id)?, b"0\n");
        let uname = || Ok(Command::new("uname").status()?.success());
        assert!(!without(&[libc::SYS_uname], uname)?);
        assert!(uname()?);
        assert_eq!(id()?, outside);
        Ok(())
    }

    #[test]
    fn without_netlink_other_sockets_are_as_they_were() -> Result<()> {
        use nix::sys::socket::{
            AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt::Ipv4PacketInfo,
        };
        let open = |family| socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        let can = || {
            let socket = open(AddressFamily::Inet)?;
            let is_told = setsockopt(&socket, Ipv4PacketInfo, &true).is_ok();
            Ok((open(AddressFamily::Netlink).is_ok(), is_told))
        };
        assert_eq!(can()?, (true, true));
        assert_eq!(without_netlink(can)?, (false, false));
        Ok(())
    }
}
