//! Fault injection: a session in which one use of one system call fails, or succeeds without effect, and what comes of it.
//!
//! A session is a short dialogue with a role whose calls are suspended, which ends with an [`Outcome`]. [`table`] plays the cases of a role on
//! several workers. Needs root, because each worker has its own network namespaces.

mod dns;
mod fault;
mod judge;
mod known;
mod nfs;
mod process;
mod session;
mod sftp;
pub mod table;

use anyhow::Result;
use clap::ValueEnum;

use dns::Place;
pub use fault::{Disturbance, Fault, Suspended, Use};
pub use judge::Outcome;

/// A role and the way it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// With kernel handles
    Nfs,
    /// `nfs --handles path`
    #[value(name = "nfs-path-handles")]
    NfsPaths,
    /// With two loops
    Serve,
    /// Over pipes, in a directory
    #[value(name = "sftp-server")]
    Sftp,
    /// `sftp-server --jail`
    #[value(name = "sftp-server-jail")]
    SftpJail,
    /// With a service
    Mdns,
    /// `browse -t -r`
    Browse,
    /// `resolve -n`
    Resolve,
}

impl Role {
    /// The name in a table and on a command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The number of sessions to play at the same time: many for roles that mostly wait.
    pub fn worker_count(self) -> usize {
        match self {
            Self::Mdns | Self::Browse | Self::Resolve => 16,
            Self::Nfs | Self::NfsPaths | Self::Serve => 12,
            Self::Sftp | Self::SftpJail => 6,
        }
    }

    /// Prepares the surroundings of the role's sessions.
    fn place(self) -> Result<Place> {
        Place::new(matches!(self, Self::Browse | Self::Resolve))
    }

    /// Plays the role's session in `place`, with or without a disturbance.
    fn play(self, place: &Place, disturbance: Option<&Disturbance>) -> Result<session::Notes> {
        match self {
            Self::Sftp => sftp::play(false, disturbance),
            Self::SftpJail => sftp::play(true, disturbance),
            Self::Nfs => nfs::play(&["nfs"], disturbance),
            Self::NfsPaths => nfs::play(&["nfs", "--handles", "path"], disturbance),
            Self::Serve => nfs::play(&["serve", "--no-mdns", "--loops", "2"], disturbance),
            Self::Mdns => dns::announce(place, disturbance),
            Self::Browse => {
                let words = ["browse", "-t", "-r", "-p", "_sftp-ssh._tcp"];
                dns::ask(disturbance, &words, ";box.local;192.0.2.2;22;")
            }
            Self::Resolve => dns::ask(disturbance, &["resolve", "-n", "box.local"], "192.0.2.2"),
        }
    }
}
