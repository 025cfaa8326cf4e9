//! Losses of a program on a host that lacks a system call or an option.

/// Loss of a program on a host that lacks a row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Loss {
    /// Nothing is lost: another call does the same.
    Nothing,
    /// No role works.
    Everything,
    /// Kernel handles: a file that is renamed while the server restarts is stale for its clients.
    Handles,
    /// The users of clients.
    Users,
    /// Several loops that serve the same files.
    Loops,
    /// Reads that are answered at once from the page cache, and copies inside the kernel.
    Speed,
    /// Parts of the sandbox: no_new_privs, seccomp or Landlock.
    Sandbox,
    /// Notice of changed files: they are read again every few seconds.
    FileNotice,
    /// Notice of changed interfaces: they are listed again every few seconds.
    InterfaceNotice,
    /// IPv6.
    Ipv6,
    /// The own network stack on an interface.
    Stack,
    /// Programs that are run for events.
    Programs,
    /// Port 111. No row loses it: another process may have the port.
    Portmap,
    /// Port 2049.
    NfsPort,
    /// The users of clients, and root's process cannot become another user. No row loses it.
    Squash,
}

/// Result of a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// The host has the call or option.
    Present,
    /// The call fails with this errno.
    Fails(u8),
    /// The call succeeds without effect.
    WithoutEffect,
    /// The host kills a process that makes the call.
    Kills,
}
