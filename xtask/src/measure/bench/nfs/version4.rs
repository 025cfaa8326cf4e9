//! The workloads by NFS 4.1: a generator of COMPOUNDs with the operations that Linux sends in place of a call of version 3.

use anyhow::{Context as _, Result, ensure};
use cases::nfs4::locks::{lock, lock_new, unlock};
use cases::nfs4::opens::{close, on_state, open};
use cases::nfs4::{Op, Peer, Reader, Results, bitmap, compound, getattr, lookup, op, opaque, with};

use super::connection::{BATCH, Compound, Connection, DEPTH, PAGE, Packed, Request};
use crate::clients::nfs::{Call, Client, first_xid, record};
use crate::measure::bench::load::{self, Refill};
use crate::measure::bench::workspace::{
    self, BIG, CROWD, ListedNames, NAME_COUNT, NAMES, STANDING, Storage,
};

type Load = load::Load<Connection>;

/// Attributes that Linux asks for: those of version 3, change and mounted_on_fileid.
const ATTRIBUTES: [u32; 15] = [1, 3, 4, 8, 20, 33, 35, 36, 37, 41, 45, 47, 52, 53, 55];
/// Attributes of an entry that is listed without its object: rdattr_error, fileid and mounted_on_fileid.
const OF_NAMES: [u32; 3] = [11, 20, 55];
/// The state ID that the operation before has returned.
const CURRENT: [u32; 4] = [1, 0, 0, 0];
/// The range that is locked.
const RANGE: (u64, u64) = (0, 100);
/// A lock for reading.
const READ_LOCK: u32 = 1;
/// Length of a WRITE (bytes).
const LARGE: usize = 1 << 19;
/// Length of the results up to that of SEQUENCE, with the tag of [`compound`].
const SEQUENCE_END: usize = 60;

/// A session with its slots, and the handles of the tree's objects as words.
pub struct Session {
    id: [u32; 4],
    /// The sequence numbers of the last requests, by slot.
    sequences: [u32; DEPTH],
    files: Vec<Vec<u32>>,
    names: Vec<u32>,
    crowd: Vec<u32>,
    big: Vec<u32>,
    /// The state ID of the large file, which is open.
    state: [u32; 4],
    /// Lock states of the files.
    locks: Vec<[u32; 4]>,
    /// A directory on tmpfs.
    plain: Vec<u32>,
    /// A file on tmpfs, and its state ID: it is open for writing.
    standing: (Vec<u32>, [u32; 4]),
}

impl Session {
    /// Makes a client with a session. `tops` are the paths of the tree and of the tmpfs; `number` differs for each client of the server.
    pub fn begin(client: &mut Client, tops: &[String; 2], number: u32) -> Result<Self> {
        let mut exchange = |message: &[u8]| {
            client.send(&record(message))?;
            Ok(client.receive()?.context("closed")?.to_vec())
        };
        let name = format!("bench {number}");
        let mut peer = Peer::new(&mut exchange, "", &name, first_xid());
        peer.user = 0;
        peer.begun()?;
        let done = peer.next(&[with(op::RECLAIM_COMPLETE, &[0])])?;
        ensure!(done.status == 0, "{done:?}");
        let mut at = |top: &str, path: &str| {
            let way = peer.way(&format!("{top}/{path}"), &[vec![op::GETFH]]);
            let found = peer.next(&way)?;
            ensure!(found.status == 0, "{path}: {found:?}");
            anyhow::Ok(found.last)
        };
        let [tree, tmpfs] = tops;
        let plain = at(tmpfs, Storage::Tmpfs.name())?;
        let standing = at(tmpfs, STANDING)?;
        let mut handle = |path: &str| at(tree, path);
        let file = |index| format!("{NAMES}/{}", workspace::name(index));
        let files = (0..DEPTH as u64).map(|index| handle(&file(index)));
        let files = files.collect::<Result<Vec<_>>>()?;
        let [names, crowd, big] = [handle(NAMES)?, handle(CROWD)?, handle(BIG)?];
        // The state ID that the last operation on a file returns.
        let mut state = |file: &[u32], ops: &[Op]| {
            let all = [&[with(op::PUTFH, file)], ops].concat();
            let done = peer.next(&all)?;
            ensure!(done.status == 0, "{done:?}");
            anyhow::Ok(<[u32; 4]>::try_from(&done.last[..4])?)
        };
        let opened = state(&big, &[open("bench", 1, 0, None)])?;
        let writes = state(&standing, &[open("bench", 2, 0, None)])?;
        // With the sequence number 0, a state ID is the most recent one.
        let newest = |[_, a, b, c]: [u32; 4]| [0, a, b, c];
        // The lock names the open's state ID: Linux's server knows none of the same COMPOUND.
        let locks = files.iter().map(|file| {
            let opened = state(file, &[open("locker", 1, 0, None)])?;
            let locked = state(file, &[lock_new(READ_LOCK, RANGE, opened, "bench")])?;
            anyhow::Ok(newest(locked))
        });
        let locks = locks.collect::<Result<_>>()?;
        let mut sequences = [0; DEPTH];
        sequences[0] = peer.sequence;
        Ok(Self {
            id: peer.session,
            sequences,
            files,
            names,
            crowd,
            big,
            state: opened,
            locks,
            plain,
            standing: (standing, newest(writes)),
        })
    }

    /// A COMPOUND of this session, whose first operation after SEQUENCE is PUTFH.
    fn compound(&self, handle: &[u32], ops: &[Op]) -> Compound {
        let sequence = with(op::SEQUENCE, &[&self.id[..], &[0; 4]].concat());
        let head = [sequence, with(op::PUTFH, handle)];
        Compound::new(&compound(1, &[&head, ops].concat()))
    }

    /// Sends `count` COMPOUNDs, each the one of `calls` that `choose` returns. The first reply to each is parsed; later ones must be
    /// equal to it. Returns `count`.
    fn repeat(
        &mut self,
        load: &mut Load,
        calls: &[Compound],
        count: u64,
        refill: Refill,
        choose: impl FnMut(u64) -> usize,
    ) -> Result<u64> {
        let order: Vec<_> = (0..count).map(choose).collect();
        let mut replies: Vec<Vec<u8>> = vec![Vec::new(); calls.len()];
        load.run(
            count,
            refill,
            |index| self.next(&calls[order[index as usize]], index, refill),
            |index, results| {
                let expected = &mut replies[order[index as usize]];
                let after = results.get(SEQUENCE_END..).unwrap_or_default();
                if expected.is_empty() {
                    let results = Results::parse(results)?;
                    ensure!(results.status == 0, "{results:?}");
                    *expected = after.to_vec();
                }
                ensure!(after == expected, "{after:02x?} instead of {expected:02x?}");
                Ok(())
            },
        )?;
        Ok(count)
    }

    /// The request with this index of a run, in its slot. The earlier request of the slot was answered.
    fn next<'a>(&mut self, call: &'a Compound, index: u64, refill: Refill) -> Request<'a> {
        let (Refill::Batch(depth) | Refill::Slide(depth)) = refill;
        let slot = index as usize % depth;
        self.sequences[slot] += 1;
        Request::Compound(call, [self.sequences[slot], slot as u32])
    }

    /// Sends `count` GETATTRs of the empty files in turn.
    pub fn get_attr(&mut self, load: &mut Load, count: u64, refill: Refill) -> Result<u64> {
        let files = self.files.iter();
        let calls: Vec<_> = files
            .map(|file| self.compound(file, &[getattr(&ATTRIBUTES)]))
            .collect();
        let choose = |index| index as usize % calls.len();
        self.repeat(load, &calls, count, refill, choose)
    }

    /// Sends `count` LOOKUPs of names in random order.
    pub fn look_up(&mut self, load: &mut Load, count: u64) -> Result<u64> {
        let mut random = fastrand::Rng::with_seed(1);
        let calls: Vec<_> = (0..NAME_COUNT)
            .map(|index| {
                let ops = [
                    lookup(&workspace::name(index)),
                    vec![op::GETFH],
                    getattr(&ATTRIBUTES),
                ];
                self.compound(&self.names, &ops)
            })
            .collect();
        self.repeat(load, &calls, count, BATCH, |_| random.usize(..calls.len()))
    }

    /// Opens and closes the empty files in turn, by one COMPOUND each.
    pub fn open_and_close(&mut self, load: &mut Load, count: u64) -> Result<u64> {
        let opens = open("bench", 1, 0, None);
        let ops = [opens, close([1, 0, 0, 0])];
        let files = self.files.iter();
        let calls: Vec<_> = files.map(|file| self.compound(file, &ops)).collect();
        self.send(load, &calls, count, BATCH)
    }

    /// Reads `len` bytes at random offsets of the large file, by the state ID of an open.
    pub fn read(&mut self, load: &mut Load, count: u64, len: u32, big_bytes: u64) -> Result<u64> {
        let mut random = fastrand::Rng::with_seed(1);
        let blocks = big_bytes / u64::from(len);
        let calls: Vec<_> = (0..NAME_COUNT)
            .map(|_| {
                let offset = random.u64(0..blocks) * u64::from(len);
                let after = [(offset >> 32) as u32, offset as u32, len];
                self.compound(&self.big, &[on_state(op::READ, &[], self.state, &after)])
            })
            .collect();
        self.repeat(load, &calls, count, BATCH, |_| random.usize(..calls.len()))
    }

    /// Sends COMPOUNDs whose results differ each time. Returns `count`.
    fn send(
        &mut self,
        load: &mut Load,
        calls: &[Compound],
        count: u64,
        refill: Refill,
    ) -> Result<u64> {
        load.run(
            count,
            refill,
            |index| self.next(&calls[index as usize % calls.len()], index, refill),
            |_, results| {
                ensure!(results[..4] == [0; 4], "{:?}", Results::parse(results));
                Ok(())
            },
        )?;
        Ok(count)
    }

    /// Writes over a file on tmpfs. Returns the number of bytes.
    pub fn write(&mut self, load: &mut Load, big_bytes: u64) -> Result<u64> {
        let data = opaque(&vec![7; LARGE]);
        let (file, state) = &self.standing;
        let calls: Vec<_> = (0..DEPTH as u64)
            .map(|index| {
                let offset = index * LARGE as u64;
                let after = [&[(offset >> 32) as u32, offset as u32, 0][..], &data].concat();
                self.compound(file, &[on_state(op::WRITE, &[], *state, &after)])
            })
            .collect();
        let count = big_bytes / LARGE as u64;
        Ok(self.send(load, &calls, count, Refill::Slide(1))? * LARGE as u64)
    }

    /// Creates files on tmpfs, and removes each by the same COMPOUND.
    pub fn create_and_remove(&mut self, load: &mut Load, count: u64) -> Result<u64> {
        let head = with(op::OPEN, &[0, 3, 0, 9, 9]);
        // UNCHECKED4, with a mode; the claim is the name.
        let how = [&[1, 0][..], &bitmap(&[33]), &[4, 0o644, 0]].concat();
        let calls: Vec<_> = (0..DEPTH)
            .map(|index| {
                let name = opaque(format!("made-{index}").as_bytes());
                let ops = [
                    vec![op::SAVEFH],
                    [&head[..], &opaque(b"bench"), &how, &name].concat(),
                    close(CURRENT),
                    vec![op::RESTOREFH],
                    with(op::REMOVE, &name),
                ];
                self.compound(&self.plain, &ops)
            })
            .collect();
        self.send(load, &calls, count, BATCH)
    }

    /// Locks and unlocks a range of the empty files in turn, by one COMPOUND each.
    pub fn lock_and_unlock(&mut self, load: &mut Load, count: u64) -> Result<u64> {
        let states = self.files.iter().zip(&self.locks);
        let calls: Vec<_> = states
            .map(|(file, state)| {
                let ops = [lock(READ_LOCK, RANGE, *state), unlock(RANGE, *state)];
                self.compound(file, &ops)
            })
            .collect();
        self.send(load, &calls, count, BATCH)
    }

    /// Lists the large directory, one page after the other. Returns the number of entries.
    pub fn walk(&mut self, load: &mut Load, entry_count: u64) -> Result<u64> {
        let mut seen = ListedNames::of(entry_count);
        // The cookie and the verifier.
        let (mut position, mut eof) = (vec![0; 4], false);
        while !eof {
            let words = [&position[..], &[PAGE, PAGE], &bitmap(&OF_NAMES)].concat();
            let call = self.compound(&self.crowd, &[with(op::READDIR, &words)]);
            load.run(
                1,
                BATCH,
                |_| self.next(&call, 0, BATCH),
                |_, results| {
                    // The results of PUTFH and READDIR have two words before their own.
                    let mut page = Reader(results);
                    page.take(SEQUENCE_END + 8)?;
                    let head = page.words(4)?;
                    ensure!(head[..2] == [op::READDIR, 0], "{head:?}");
                    position[2..].copy_from_slice(&head[2..]);
                    while page.flag()? {
                        position[..2].copy_from_slice(&page.words(2)?);
                        seen.add(page.opaque()?)?;
                        page.attributes()?;
                    }
                    eof = page.flag()?;
                    Ok(())
                },
            )?;
        }
        seen.expect_all()
    }
}

/// Sends `count` NULL calls by NFS 4.
pub fn call_null(load: &mut Load, count: u64) -> Result<u64> {
    let call = Packed::new(&Call {
        procedure: (100_003, 4, 0),
        ..Call::null()
    });
    load.run(
        count,
        BATCH,
        |_| Request::Packed(&call),
        |_, results| {
            ensure!(results.is_empty(), "results of NULL: {results:02x?}");
            Ok(())
        },
    )?;
    Ok(count)
}
