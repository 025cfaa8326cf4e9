//! The calls of i686 programs under a profile: names and numbers that differ from x86_64, and socketcall(2).
//!
//! socketcall(2) makes all calls for sockets. Its first argument is the number of such a call, its second one the address of that
//! call's arguments. seccomp cannot read them, so that a [`supervisor`](super::supervisor) decides.

use super::filter::Argument;
use super::profile::Case;
use syscalls::{Sysno, x86};

/// Names on i686 of x86_64 calls, a line for each.
const VARIANTS: &str = include_str!("i686.txt");

/// The calls that socketcall(2) makes for its first argument, from 1 (include/uapi/linux/net.h): `sendto` and `recvfrom` twice,
/// first as send and recv.
const SOCKET_CALLS: &str = "socket bind connect listen accept getsockname getpeername socketpair sendto recvfrom sendto \
    recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg";

/// The numbers in socketcall's first argument, and the calls that it then makes.
pub(super) fn socket_calls() -> impl Iterator<Item = (i32, Sysno)> {
    let names = SOCKET_CALLS.split(' ');
    (1..).zip(names.map(|name| name.parse().expect("a system call")))
}

/// The number of socketcall(2).
pub(super) const SOCKETCALL: u32 = x86::Sysno::socketcall as u32;

/// The greatest number of a call that we know.
pub(super) fn last() -> u32 {
    x86::Sysno::last() as u32
}

/// The name of a call.
pub(super) fn name(number: u32) -> &'static str {
    x86::Sysno::new(number as usize).map_or("call", |call| call.name())
}

/// The numbers that socketcall(2) has for a call of x86_64.
fn socket_numbers(call: Sysno) -> impl Iterator<Item = i32> {
    socket_calls().filter_map(move |(number, other)| (other == call).then_some(number))
}

/// The calls that a filter refuses for a case, each with its arguments.
pub(super) fn refused(case: &Case) -> Vec<(u32, Vec<Argument>)> {
    let own: Option<x86::Sysno> = case.call.name().parse().ok();
    let variants = VARIANTS.lines().filter_map(|line| line.split_once(": "));
    let variants = variants.filter(|(call, _)| *call == case.call.name());
    let variants = variants.flat_map(|(_, names)| names.split(' '));
    let variants = variants.map(|name| name.parse().expect("a system call of i686"));
    let calls = own.into_iter().chain(variants);
    let mut refused: Vec<_> = calls
        .map(|call| (call as u32, case.arguments.clone()))
        .collect();
    if case.arguments.is_empty() {
        let numbers = socket_numbers(case.call);
        refused.extend(numbers.map(|number| (SOCKETCALL, vec![Argument::is(0, number)])));
    }
    refused
}

/// The number in socketcall's first argument if a case depends on arguments that a filter cannot read.
pub(super) fn supervised(case: &Case) -> Option<i32> {
    let mut numbers = socket_numbers(case.call);
    numbers.next().filter(|_| !case.arguments.is_empty())
}

/// The x86_64 call that socketcall(2) makes for this number.
pub(super) fn socket_call(number: i32) -> Option<Sysno> {
    socket_calls().find_map(|(other, call)| (other == number).then_some(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(call: Sysno, arguments: &[Argument]) -> Case {
        Case {
            call,
            arguments: arguments.to_vec(),
            sample: [0; 6],
            errno: 1,
        }
    }

    #[test]
    fn all_names_of_a_call_are_refused() {
        let numbers = |call| -> Vec<u32> {
            let refused = refused(&case(call, &[]));
            refused.into_iter().map(|(number, _)| number).collect()
        };
        assert_eq!(numbers(Sysno::getuid), [24, 199]);
        assert_eq!(numbers(Sysno::ppoll), [309, 414]);
        assert_eq!(numbers(Sysno::accept4), [364, SOCKETCALL]);
        assert_eq!(numbers(Sysno::sendto), [369, SOCKETCALL, SOCKETCALL]);
        assert_eq!(numbers(Sysno::newfstatat), [300]);
    }

    #[test]
    fn arguments_of_socketcall_are_left_to_the_supervisor() {
        let family = [Argument::is(0, 16)];
        let socket = case(Sysno::socket, &family);
        assert_eq!(refused(&socket), [(359, family.to_vec())]);
        assert_eq!(supervised(&socket), Some(1));
        assert_eq!(supervised(&case(Sysno::socket, &[])), None);
        assert_eq!(supervised(&case(Sysno::fcntl, &family)), None);
        assert_eq!(socket_call(14), Some(Sysno::setsockopt));
    }
}
