//! The calls of i686 programs under a profile: names and numbers that differ from x86_64, and socketcall(2).
//!
//! socketcall(2) makes all calls for sockets. Its first argument is the number of such a call, its second one the address of that
//! call's arguments. seccomp cannot read them, so that a [`supervisor`](super::supervisor) decides.

use super::filter::Argument;
use super::profile::Case;
use syscalls::{Sysno, x86};

/// Names on i686 of an x86_64 call, except for its own name, which i686 may have, too.
const VARIANTS: &[(Sysno, &[x86::Sysno])] = {
    use Sysno as X;
    use x86::Sysno as I;
    &[
        (X::chown, &[I::chown32]),
        (X::clock_adjtime, &[I::clock_adjtime64]),
        (X::clock_getres, &[I::clock_getres_time64]),
        (X::clock_gettime, &[I::clock_gettime64]),
        (X::clock_nanosleep, &[I::clock_nanosleep_time64]),
        (X::clock_settime, &[I::clock_settime64]),
        (X::fadvise64, &[I::fadvise64_64]),
        (X::fchown, &[I::fchown32]),
        (X::fcntl, &[I::fcntl64]),
        (X::fstat, &[I::fstat64, I::oldfstat]),
        (X::fstatfs, &[I::fstatfs64]),
        (X::ftruncate, &[I::ftruncate64]),
        (X::futex, &[I::futex_time64]),
        (X::getegid, &[I::getegid32]),
        (X::geteuid, &[I::geteuid32]),
        (X::getgid, &[I::getgid32]),
        (X::getgroups, &[I::getgroups32]),
        (X::getresgid, &[I::getresgid32]),
        (X::getresuid, &[I::getresuid32]),
        (X::getrlimit, &[I::ugetrlimit]),
        (X::getuid, &[I::getuid32]),
        (X::io_pgetevents, &[I::io_pgetevents_time64]),
        (X::lchown, &[I::lchown32]),
        (X::lseek, &[I::_llseek]),
        (X::lstat, &[I::lstat64, I::oldlstat]),
        (X::mmap, &[I::mmap2]),
        (X::mq_timedreceive, &[I::mq_timedreceive_time64]),
        (X::mq_timedsend, &[I::mq_timedsend_time64]),
        (X::newfstatat, &[I::fstatat64]),
        (X::ppoll, &[I::ppoll_time64]),
        (X::pselect6, &[I::pselect6_time64]),
        (X::recvmmsg, &[I::recvmmsg_time64]),
        (X::rt_sigaction, &[I::sigaction, I::signal]),
        (X::rt_sigpending, &[I::sigpending]),
        (X::rt_sigprocmask, &[I::sigprocmask]),
        (X::rt_sigreturn, &[I::sigreturn]),
        (X::rt_sigsuspend, &[I::sigsuspend]),
        (X::rt_sigtimedwait, &[I::rt_sigtimedwait_time64]),
        (X::sched_rr_get_interval, &[I::sched_rr_get_interval_time64]),
        (X::select, &[I::_newselect]),
        (X::semtimedop, &[I::semtimedop_time64]),
        (X::sendfile, &[I::sendfile64]),
        (X::setfsgid, &[I::setfsgid32]),
        (X::setfsuid, &[I::setfsuid32]),
        (X::setgid, &[I::setgid32]),
        (X::setgroups, &[I::setgroups32]),
        (X::setregid, &[I::setregid32]),
        (X::setresgid, &[I::setresgid32]),
        (X::setresuid, &[I::setresuid32]),
        (X::setreuid, &[I::setreuid32]),
        (X::setuid, &[I::setuid32]),
        (X::stat, &[I::stat64, I::oldstat]),
        (X::statfs, &[I::statfs64]),
        (X::timer_gettime, &[I::timer_gettime64]),
        (X::timer_settime, &[I::timer_settime64]),
        (X::timerfd_gettime, &[I::timerfd_gettime64]),
        (X::timerfd_settime, &[I::timerfd_settime64]),
        (X::truncate, &[I::truncate64]),
        (X::umount2, &[I::umount]),
        (X::uname, &[I::olduname, I::oldolduname]),
        (X::utimensat, &[I::utimensat_time64]),
        (X::wait4, &[I::waitpid]),
    ]
};

/// Numbers in socketcall's first argument (include/uapi/linux/net.h), and the calls that it then makes.
pub(super) const SOCKET_CALLS: [(i32, Sysno); 20] = [
    (1, Sysno::socket),
    (2, Sysno::bind),
    (3, Sysno::connect),
    (4, Sysno::listen),
    (5, Sysno::accept),
    (6, Sysno::getsockname),
    (7, Sysno::getpeername),
    (8, Sysno::socketpair),
    // send and recv.
    (9, Sysno::sendto),
    (10, Sysno::recvfrom),
    (11, Sysno::sendto),
    (12, Sysno::recvfrom),
    (13, Sysno::shutdown),
    (14, Sysno::setsockopt),
    (15, Sysno::getsockopt),
    (16, Sysno::sendmsg),
    (17, Sysno::recvmsg),
    (18, Sysno::accept4),
    (19, Sysno::recvmmsg),
    (20, Sysno::sendmmsg),
];

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
    let calls = SOCKET_CALLS.into_iter();
    calls.filter_map(move |(number, other)| (other == call).then_some(number))
}

/// The calls that a filter refuses for a case, each with its arguments.
pub(super) fn refused(case: &Case) -> Vec<(u32, Vec<Argument>)> {
    let own: Option<x86::Sysno> = case.call.name().parse().ok();
    let variants = VARIANTS.iter().filter(|(call, _)| *call == case.call);
    let variants = variants.flat_map(|(_, names)| names.iter().copied());
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
    let mut calls = SOCKET_CALLS.into_iter();
    calls.find_map(|(other, call)| (other == number).then_some(call))
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
