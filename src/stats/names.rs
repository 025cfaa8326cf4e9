//! The names of figures and operations, and their places in a sheet.

use super::{FIGURES_AT, OPERATION_WORDS, OPERATIONS_AT};
use crate::config::HAS_NFS4;

/// The type of a family in Prometheus' text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code, reason = "an executable may count nothing")]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A family of operations and connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// NFS, MOUNT and the portmapper.
    Rpc,
    /// SFTP.
    Sftp,
    /// HTTP.
    Http,
    /// Multicast DNS.
    Mdns,
    /// Network boot: proxyDHCP and TFTP.
    Boot,
}

pub(super) const PROTOCOL_COUNT: usize = 5;

impl Family {
    /// All protocols.
    pub const ALL: [Self; PROTOCOL_COUNT] =
        [Self::Rpc, Self::Sftp, Self::Http, Self::Mdns, Self::Boot];

    /// The name as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Sftp => "sftp",
            Self::Http => "http",
            Self::Mdns => "mdns",
            Self::Boot => "boot",
        }
    }
}

macro_rules! figures {
    ($($figure:ident $name:literal $kind:ident,)*) => {
        /// A figure of a protocol. `Figure::family` has its name.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the texts of the families")]
        pub enum Figure {
            $($figure,)*
        }

        const FAMILIES: &[(&str, Kind)] = &[$(($name, Kind::$kind),)*];

        impl Figure {
            /// All figures.
            pub const ALL: [Self; FIGURE_COUNT] = [$(Self::$figure),*];
        }

        pub(super) const FIGURE_COUNT: usize = FAMILIES.len();
    };
}

// In the order of the columns of a page.
figures! {
    Open "connections" Gauge,
    Accepted "connections_accepted_total" Counter,
    Received "received_bytes_total" Counter,
    Sent "sent_bytes_total" Counter,
    Refused "refused_total" Counter,
    Evicted "evicted_total" Counter,
    Duplicates "duplicate_replies_total" Counter,
    Waiting "waiting" Gauge,
    Records "records" Gauge,
    Queries "queries_total" Counter,
    Responses "responses_total" Counter,
    Conflicts "conflicts_total" Counter,
    ClientErrors "client_errors_total" Counter,
}

impl Figure {
    pub(super) const fn at(self, protocol: Family) -> usize {
        FIGURES_AT + protocol as usize * FIGURE_COUNT + self as usize
    }

    /// Name and type of its family in Prometheus' text.
    pub(super) fn family(at: usize) -> Option<&'static (&'static str, Kind)> {
        FAMILIES.get(at)
    }

    /// True if the figure may become smaller.
    pub fn is_state(self) -> bool {
        Self::family(self as usize).is_some_and(|(_, kind)| *kind == Kind::Gauge)
    }
}

/// A kind of call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation(u16);

/// A program or protocol, and the names of its operations, in the order of their numbers.
struct Operations {
    program: &'static str,
    protocol: Family,
    names: &'static str,
    first: u16,
    count: u16,
}

const NFS: Operations = Operations {
    program: "nfs",
    protocol: Family::Rpc,
    names: "null getattr setattr lookup access readlink read write create mkdir symlink mknod remove rmdir rename link readdir \
            readdirplus fsstat fsinfo pathconf commit",
    first: 0,
    count: 22,
};
const MOUNT: Operations = Operations {
    program: "mount",
    protocol: Family::Rpc,
    names: "null mnt dump umnt umntall export",
    first: NFS.first + NFS.count,
    count: 6,
};
const PORTMAP: Operations = Operations {
    program: "portmap",
    protocol: Family::Rpc,
    names: "null set unset getport dump callit",
    first: MOUNT.first + MOUNT.count,
    count: 6,
};
const SFTP: Operations = Operations {
    program: "sftp",
    protocol: Family::Sftp,
    names: "init open close read write lstat fstat setstat fsetstat opendir readdir remove mkdir rmdir realpath stat rename readlink \
            symlink extended",
    first: PORTMAP.first + PORTMAP.count,
    count: 20,
};
const HTTP: Operations = Operations {
    program: "http",
    protocol: Family::Http,
    names: "get head options other",
    first: SFTP.first + SFTP.count,
    count: 4,
};
const BOOT: Operations = Operations {
    program: "boot",
    protocol: Family::Boot,
    names: "unsupported offer menu missing refused tftp silent http",
    first: HTTP.first + HTTP.count,
    count: 8,
};
/// A COMPOUND is one call, whatever its operations are.
const NFS4: Operations = Operations {
    program: "nfs4",
    protocol: Family::Rpc,
    names: "null compound",
    first: BOOT.first + BOOT.count,
    count: 2,
};
const PROGRAMS: &[&Operations] = match HAS_NFS4 {
    true => &[&NFS, &MOUNT, &PORTMAP, &SFTP, &HTTP, &BOOT, &NFS4],
    false => &[&NFS, &MOUNT, &PORTMAP, &SFTP, &HTTP, &BOOT],
};

pub(super) const OPERATION_COUNT: usize = match HAS_NFS4 {
    true => NFS4.first + NFS4.count,
    false => NFS4.first,
} as usize;

impl Operations {
    /// The operation of this number.
    const fn number(&self, number: u32) -> Option<Operation> {
        if number < self.count as u32 {
            Some(Operation(self.first + number as u16))
        } else {
            None
        }
    }
}

impl Operation {
    /// The number that [`Operation::rpc`] has for NFS 4.
    pub const NFS4: u32 = 4;

    /// The procedure of a program, by its numbers in RPC.
    pub const fn rpc(program: u32, procedure: u32) -> Option<Self> {
        match program {
            Self::NFS4 if HAS_NFS4 => NFS4.number(procedure),
            100_003 => NFS.number(procedure),
            100_005 => MOUNT.number(procedure),
            100_000 => PORTMAP.number(procedure),
            _ => None,
        }
    }

    /// The request of SFTP with this packet type. SSH_FXP_INIT is 1, SSH_FXP_OPEN 3; SSH_FXP_EXTENDED is 200.
    pub const fn sftp(packet: u8) -> Option<Self> {
        match packet {
            1 => SFTP.number(0),
            3..=20 => SFTP.number(packet as u32 - 2),
            200 => SFTP.number(19),
            _ => None,
        }
    }

    /// The method of HTTP: `Some(0)` GET, 1 HEAD, 2 OPTIONS, 3 another.
    pub const fn http(method: u32) -> Option<Self> {
        HTTP.number(method)
    }

    /// The step of a machine that boots, by its number.
    pub const fn boot(step: u32) -> Option<Self> {
        BOOT.number(step)
    }

    /// All operations, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..OPERATION_COUNT as u16).map(Self)
    }

    /// The operation at this place in [`Operation::all`].
    pub const fn nth(at: usize) -> Option<Self> {
        if at < OPERATION_COUNT {
            Some(Self(at as u16))
        } else {
            None
        }
    }

    pub(super) const fn at(self) -> usize {
        OPERATIONS_AT + self.0 as usize * OPERATION_WORDS
    }

    fn program(self) -> &'static Operations {
        let of = |program: &&&Operations| self.0 < program.first + program.count;
        PROGRAMS.iter().find(of).copied().unwrap_or(&BOOT)
    }

    /// The names of its program and its own.
    pub fn texts(self) -> [&'static [u8]; 2] {
        [self.family().as_bytes(), self.name().as_bytes()]
    }

    /// The name of its program, such as "nfs".
    pub fn family(self) -> &'static str {
        self.program().program
    }

    /// Its protocol.
    pub fn protocol(self) -> Family {
        self.program().protocol
    }

    /// Its name, such as "getattr".
    pub fn name(self) -> &'static str {
        let program = self.program();
        let mut names = program.names.split(' ');
        names.nth((self.0 - program.first).into()).unwrap_or("")
    }
}
