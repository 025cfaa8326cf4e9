//! The workloads and their aims. A workload runs on objects in ISO images (the side `inside`) and on regular files and directories
//! of the same content (the side `plain`).

use std::path::Path;

use anyhow::{Context as _, Result};

use super::images::{ALL, COLD, DIRECTORIES, Images, SMALL_COUNT};
use crate::clients::nfs::{Call, Client, parse_lookup};
use crate::machines::server::Server;
use crate::measure::bench::frame;
use crate::measure::bench::load::Load;
use crate::measure::bench::measure::Cost;
use crate::measure::bench::nfs::connection::{BATCH, Connection};
use crate::measure::bench::nfs::workload as nfs;
use crate::measure::bench::sftp::server::{Server as Session, Transport};
use crate::measure::bench::sftp::session::DEPTH;
use crate::measure::bench::sftp::workload as sftp;
use crate::measure::bench::table::{Aim, Metric, Reference, Subject, Unit};
use crate::measure::bench::workspace::{BIG, crowd_name};

/// Number of entries listed per turn. Small directories are listed several times, so that all turns are of similar length.
const LISTED: u64 = 20_000;
/// Number of MNT calls for each small image in a turn.
const MOUNTED: usize = 10;

/// One kind of request.
#[derive(Clone, Copy)]
pub enum Workload {
    /// NFS READs of this many bytes of a large file in an image. The side `plain` reads the same bytes from the image file itself.
    Read(u32),
    /// As `Read`, but the side `plain` reads the file that the image was made from.
    ReadSource(u32),
    /// As `Read`, over SFTP.
    ReadSftp(u32, Transport),
    /// READDIRPLUS of a whole directory with this many entries.
    List(u64),
    /// MNT of the small images, one after the other. There are more of them than the server keeps open.
    Mount,
    /// LOOKUP of a name in a large directory of an image that the server does not have open.
    Lookup {
        /// True for the last name in the directory, false for the first.
        last: bool,
        /// True if the image is dropped from the page cache before the LOOKUP.
        forgotten: bool,
    },
}

impl Workload {
    /// All workloads, in the order of the table.
    pub fn all() -> Vec<Self> {
        let sizes = [1 << 20, 64 << 10, 32 << 10];
        let mut all: Vec<_> = sizes.map(Self::Read).into();
        for transport in Transport::ALL {
            all.extend([32 << 10, 255 << 10].map(|size| Self::ReadSftp(size, transport)));
        }
        all.extend(sizes.map(Self::ReadSource));
        all.extend(DIRECTORIES.map(Self::List));
        all.push(Self::Mount);
        for (last, forgotten) in [(false, false), (true, false), (false, true), (true, true)] {
            all.push(Self::Lookup { last, forgotten });
        }
        all
    }

    /// Returns true if the workload also runs on regular files or directories, for comparison.
    pub fn has_peer(self) -> bool {
        !matches!(self, Self::Lookup { .. })
    }
}

impl frame::Workload for Workload {
    fn subject(&self) -> Subject {
        // Aims: READs of a file in an image take about as much CPU time, and are about as fast, as READs of a regular file.
        let as_plain = |title: String| {
            Subject::new(title, Unit::Byte)
                .aim(
                    Metric::ServerCpu,
                    Aim::at_most(1.02).relative_to(Reference::Peer),
                )
                .aim(
                    Metric::Rate,
                    Aim::at_least(0.98).relative_to(Reference::Peer),
                )
        };
        match *self {
            Self::Read(size) => as_plain(format!("NFS READ {} KiB", size >> 10)),
            Self::ReadSource(size) => {
                Subject::new(format!("NFS READ {} KiB, source", size >> 10), Unit::Byte)
            }
            Self::ReadSftp(size, transport) => as_plain(format!(
                "SFTP READ {} KiB, {}",
                size >> 10,
                transport.name()
            )),
            Self::List(count) => Subject::new(format!("READDIRPLUS of {count}"), Unit::Entry),
            Self::Mount => Subject::new("MNT", Unit::Start),
            Self::Lookup { last, forgotten } => {
                let which = if last { "last" } else { "first" };
                let place = if forgotten { "disk" } else { "closed" };
                let title = format!("LOOKUP {which} of {COLD}, {place}");
                Subject {
                    // Few rounds, because each turn first waits until the server has closed the image.
                    round_max: 5,
                    ..Subject::new(title, Unit::Start).aim(Metric::Wall, Aim::at_most(5.0))
                }
            }
        }
    }
}

/// The clients, and the handles of the objects that they use.
pub struct Peers<'a> {
    images: &'a Images,
    server: u32,
    big_bytes: u64,
    /// Offset of the large file in the image file (bytes).
    offset: u64,
    /// Handle of the image as a regular file: a READ returns the bytes of the image.
    all: Vec<u8>,
    nfs: Load<Connection>,
    mount: Client,
    sessions: Vec<Session>,
    /// The objects in the image, then those in the tree that it was made from.
    sides: [Side; 2],
    /// Handle of the directory in the image on the disk.
    cold: Vec<u8>,
}

/// Handles of the large file and the directories of one side.
struct Side {
    big: Vec<u8>,
    crowds: Vec<Vec<u8>>,
}

impl<'a> Peers<'a> {
    /// Connects the clients and looks up the handles.
    pub fn new(
        images: &'a Images,
        server: &Server,
        sessions: Vec<Session>,
        big_bytes: u64,
    ) -> Result<Self> {
        let mut mount = Client::connect(server.mount())?;
        let mut client = server.connect()?;
        let mut handle = |top: &Path, path: &str| {
            let top = mount.mount(&top.display().to_string())?;
            client.walk(&top, path)
        };
        let mut side = |inside| {
            let top = images.top(inside);
            let crowds = DIRECTORIES.map(|count| handle(&top, &Images::crowd(count)));
            anyhow::Ok(Side {
                big: handle(&top, BIG)?,
                crowds: crowds.into_iter().collect::<Result<_>>()?,
            })
        };
        let sides = [side(true)?, side(false)?];
        let all = handle(&images.top(false), ALL)?;
        let cold = handle(&images.cold().image(), "crowd")?;
        Ok(Self {
            images,
            server: server.pid(),
            big_bytes,
            offset: images.large_file_offset()?,
            all,
            nfs: Load::connect(server.nfs())?,
            mount,
            sessions,
            sides,
            cold,
        })
    }

    /// Runs one turn of a workload: in the image if `inside`, else on the side `plain`.
    pub fn turn(&mut self, workload: Workload, inside: bool) -> Result<Cost> {
        let (server, bytes) = (self.server, self.big_bytes);
        let side = &self.sides[usize::from(!inside)];
        match workload {
            Workload::Read(size) if !inside => Cost::measure(&[server], || {
                nfs::read_through(&mut self.nfs, &self.all, self.offset, bytes, size)
            }),
            Workload::Read(size) | Workload::ReadSource(size) => Cost::measure(&[server], || {
                nfs::read_through(&mut self.nfs, &side.big, 0, bytes, size)
            }),
            Workload::ReadSftp(size, transport) => {
                let at = Transport::ALL.iter().position(|it| *it == transport);
                let session = &mut self.sessions[at.context("no such session")?];
                let all = self.images.top(true);
                let (path, at) = if inside {
                    (all.join(BIG), 0)
                } else {
                    (all, self.offset)
                };
                Cost::measure(&[session.pid()], || {
                    sftp::read(&mut session.load, &path, at, bytes, size.into(), DEPTH)
                })
            }
            Workload::List(count) => {
                let at = DIRECTORIES.iter().position(|it| *it == count);
                let dir = &side.crowds[at.context("no such directory")?];
                Cost::measure(&[server], || {
                    (0..LISTED / count)
                        .try_for_each(|_| nfs::walk(&mut self.nfs, dir, true, count).map(drop))?;
                    Ok(LISTED)
                })
            }
            Workload::Mount => Cost::measure(&[server], || {
                for index in (0..SMALL_COUNT).cycle().take(SMALL_COUNT * MOUNTED) {
                    let path = self.images.small(index, inside);
                    self.mount.mount(&path.display().to_string())?;
                }
                Ok((SMALL_COUNT * MOUNTED) as u64)
            }),
            Workload::Lookup { last, forgotten } => {
                self.images.cold().forget(server, forgotten)?;
                let name = crowd_name(if last { COLD - 1 } else { 0 });
                Cost::measure(&[server], || {
                    self.nfs.run(
                        1,
                        BATCH,
                        |_| Call::lookup(&self.cold, name.as_bytes()),
                        |_, results| parse_lookup(results).map(drop),
                    )?;
                    Ok(1)
                })
            }
        }
    }

    /// Ends the SFTP sessions. Fails unless their servers exit with success.
    pub fn stop(self) -> Result<()> {
        self.sessions.into_iter().try_for_each(Session::stop)
    }
}
