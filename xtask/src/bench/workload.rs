//! The workloads: what is asked, what a right answer is, and the aims that we measure ourselves by.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::ground::{self, BIG, CROWD, NAME_COUNT, NAMES, STAMP_STEP, Scale};
use super::load::{DEPTH, Load, Refill};
use crate::client::{Client, Nfs, replies};

/// A sequential READ.
const LARGE: u32 = 1 << 20;
/// A random READ.
const SMALL: u32 = 4096;
/// What a page of a directory may take, as common clients ask.
const PAGE: u32 = 64 << 10;

/// One kind of request.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// The floor: what the network alone costs
    Null,
    /// Of sixteen files in turn
    Getattr,
    /// Of 1,000 names, in random order
    Lookup,
    /// 4 KiB anywhere in a large file
    ReadRandom,
    /// A large file from its beginning to its end, 1 MiB each
    Read,
    /// A directory of 100,000, one page after the other
    Readdir,
    /// The same with attributes and kernel handles
    Readdirplus,
    /// The same with path handles
    ReaddirplusPath,
}

/// What is known about a workload.
pub struct Facts {
    /// For tables.
    pub title: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// The server's CPU for one unit should be at most this.
    pub cpu_aim: Option<f64>,
    /// The rate should be at least this many times the peer's.
    pub rate_aim: Option<f64>,
    /// Runs against our server with path handles.
    pub path_handles: bool,
}

/// What a workload counts, and in which measure.
#[derive(Clone, Copy)]
pub enum Unit {
    /// CPU in seconds per GiB; rate in MB/s.
    Byte,
    /// CPU in µs; rate in thousands per second.
    Request,
    /// CPU in µs; rate in thousands per second.
    Entry,
}

impl Workload {
    /// The table of all.
    pub fn facts(self) -> Facts {
        let facts = |title, unit, cpu_aim| Facts {
            title,
            unit,
            cpu_aim,
            rate_aim: None,
            path_handles: false,
        };
        match self {
            Self::Null => facts("NULL", Unit::Request, None),
            Self::Getattr => facts("GETATTR", Unit::Request, Some(3.5)),
            Self::Lookup => facts("LOOKUP", Unit::Request, Some(6.0)),
            Self::ReadRandom => facts("READ 4 KiB, random", Unit::Request, Some(6.0)),
            Self::Read => Facts {
                rate_aim: Some(1.3),
                ..facts("READ 1 MiB", Unit::Byte, Some(0.25))
            },
            Self::Readdir => facts("READDIR", Unit::Entry, None),
            Self::Readdirplus => facts("READDIRPLUS", Unit::Entry, Some(3.2)),
            Self::ReaddirplusPath => Facts {
                path_handles: true,
                ..facts("READDIRPLUS, path handles", Unit::Entry, Some(1.9))
            },
        }
    }

    /// One turn; how many units it was.
    pub fn run(self, load: &mut Load, objects: &Objects, scale: &Scale) -> Result<u64> {
        let count = scale.request_count;
        // The same seed every time: every server and every round is asked the same.
        let mut random = Random(1);
        match self {
            Self::Null => load.run(count, Refill::Batch, |_| Nfs::Null, |_, body| body.end())?,
            Self::Getattr => load.run(
                count,
                Refill::Batch,
                |index| Nfs::GetAttr {
                    object: &objects.files[index as usize % DEPTH],
                },
                |_, body| replies::get_attr(body).map(drop),
            )?,
            Self::Lookup => {
                let names: Vec<String> = (0..NAME_COUNT).map(ground::name).collect();
                let order: Vec<usize> = (0..count)
                    .map(|_| random.below(NAME_COUNT) as usize)
                    .collect();
                load.run(
                    count,
                    Refill::Batch,
                    |index| Nfs::Lookup {
                        dir: &objects.names,
                        name: names[order[index as usize]].as_bytes(),
                    },
                    |_, body| replies::lookup(body).map(drop),
                )?;
            }
            Self::ReadRandom => {
                let blocks = scale.big_bytes / u64::from(SMALL);
                let order: Vec<u64> = (0..count).map(|_| random.below(blocks)).collect();
                read(load, objects, Refill::Batch, count, SMALL, |index| {
                    order[index as usize] * u64::from(SMALL)
                })?;
            }
            Self::Read => {
                let count = scale.big_bytes / u64::from(LARGE);
                read(load, objects, Refill::Slide, count, LARGE, |index| {
                    index * u64::from(LARGE)
                })?;
                return Ok(scale.big_bytes);
            }
            Self::Readdir | Self::Readdirplus | Self::ReaddirplusPath => {
                return walk(load, objects, self != Self::Readdir, scale.crowd_count);
            }
        }
        Ok(count)
    }
}

/// READs of `size` bytes, each checked for its length and for bytes of the place that was asked for.
fn read(
    load: &mut Load,
    objects: &Objects,
    refill: Refill,
    count: u64,
    size: u32,
    offset: impl Fn(u64) -> u64,
) -> Result<()> {
    load.run(
        count,
        refill,
        |index| Nfs::Read {
            file: &objects.big,
            offset: offset(index),
            count: size,
        },
        |index, body| {
            let (data, _) = replies::read(body)?;
            ensure!(
                data.len() == size as usize,
                "READ of {size} bytes brought {}",
                data.len()
            );
            let first = data.len() - STAMP_STEP;
            for (stamp, at) in [
                (data, offset(index)),
                (&data[first..], offset(index) + first as u64),
            ] {
                ensure!(
                    stamp.starts_with(&at.to_le_bytes()),
                    "READ at {at} brought bytes of another place"
                );
            }
            Ok(())
        },
    )
}

/// Lists the large directory from its beginning to its end. Every entry must come exactly once.
fn walk(load: &mut Load, objects: &Objects, plus: bool, entry_count: u64) -> Result<u64> {
    let mut seen = vec![false; entry_count as usize];
    let (mut cookie, mut verifier, mut eof) = (0, [0; 8], false);
    while !eof {
        let dir = &objects.crowd;
        let ask = if plus {
            Nfs::ReadDirPlus {
                dir,
                cookie,
                verifier,
                dir_count: PAGE,
                max_count: PAGE,
            }
        } else {
            Nfs::ReadDir {
                dir,
                cookie,
                verifier,
                count: PAGE,
            }
        };
        load.run(
            1,
            Refill::Batch,
            |_| ask,
            |_, body| {
                let page = replies::page(body, plus)?;
                for entry in page.entries {
                    cookie = entry.cookie;
                    if entry.name == b"." || entry.name == b".." {
                        continue;
                    }
                    let index =
                        ground::crowd_index(&entry.name).context("a name that nobody made")?;
                    let seen = seen.get_mut(index).context("a name that nobody made")?;
                    ensure!(!*seen, "entry {index} came twice");
                    *seen = true;
                    ensure!(
                        !plus || (entry.attr.is_some() && entry.handle.is_some()),
                        "entry {index} has no attributes or no handle"
                    );
                }
                (verifier, eof) = (page.verifier, page.eof);
                Ok(())
            },
        )?;
    }
    ensure!(seen.iter().all(|seen| *seen), "not every entry was listed");
    Ok(entry_count)
}

/// Handles of what is asked for.
pub struct Objects {
    big: Vec<u8>,
    names: Vec<u8>,
    files: Vec<Vec<u8>>,
    crowd: Vec<u8>,
}

impl Objects {
    /// Looks everything up.
    pub fn find(client: &mut Client, root: &[u8]) -> Result<Self> {
        let names = client.walk(root, NAMES)?;
        let files = (0..DEPTH as u64)
            .map(|index| client.walk(&names, &ground::name(index)))
            .collect::<Result<_>>()?;
        Ok(Self {
            big: client.walk(root, BIG)?,
            crowd: client.walk(root, CROWD)?,
            names,
            files,
        })
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
