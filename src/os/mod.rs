//! Services of a Linux host to the roles, beside sockets and exported files: its files and logs, programs, child processes,
//! connections of a client, process 1.
//!
//! Calls may block. No role imports the system calls below (`sys::linux`).

#![forbid(unsafe_code)]

#[cfg(feature = "check")]
pub mod check;
pub mod client;
pub mod daemon;
pub mod exec;
pub mod files;
pub mod hardware;
pub mod helper;
pub mod init;
pub mod log_file;
pub mod log_place;
pub mod machines;
pub mod one_shot;
pub mod pid_file;
pub mod probe;
pub mod source;
pub mod status;
pub mod syslog;
pub mod watch;
pub mod zone;

/// Returns true if a person reads the messages: standard error is a terminal, but not /dev/console, which init passes to services.
pub fn is_attended() -> bool {
    const CONSOLE: u32 = 0x501;
    let is_console = |stat: rustix::fs::Stat| stat.st_rdev as u32 == CONSOLE;
    crate::sys::is_terminal()
        && !rustix::fs::fstat(crate::sys::linux::fs::borrow(2)).is_ok_and(is_console)
}

/// Forbids other processes of the same user to trace this one, and the kernel to dump its core.
#[doc(alias = "PR_SET_DUMPABLE")]
pub fn set_undumpable() {
    crate::sys::linux::sandbox::set_undumpable();
}
