//! The changes of a client that makes them by NFS 4.1, with the handles of version 3.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use cases::nfs4::changes::{on_names, open_new};
use cases::nfs4::opens::{close, on_state};
use cases::nfs4::{Op as Words, Peer, bitmap, op, opaque, with};
use xtask::clients::nfs::{Client, How, Set, first_xid, record};

use super::op::{Id, New, Op};

/// The state ID that the operation before has returned.
const CURRENT: [u32; 4] = [1, 0, 0, 0];
const ANONYMOUS: [u32; 4] = [0; 4];

/// A session, of which one slot is used.
pub struct Session {
    id: [u32; 4],
    sequence: u32,
}

impl Session {
    /// Makes a client of this name, with a session.
    pub fn begin(client: &mut Client, name: &str) -> Result<Self> {
        let start = Self {
            id: [0; 4],
            sequence: 0,
        };
        start.with(client, |peer| {
            let id = peer.client(name, 1)?;
            peer.begin(id, 1, &cases::nfs4::FORE)?;
            let done = peer.next(&[with(op::RECLAIM_COMPLETE, &[0])])?;
            ensure!(done.status == 0, "{done:?}");
            Ok(Self {
                id: peer.session,
                sequence: peer.sequence,
            })
        })
    }

    fn with<T>(
        &self,
        client: &mut Client,
        work: impl FnOnce(&mut Peer<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut exchange = |message: &[u8]| {
            client.send(&record(message))?;
            Ok(client.receive()?.context("closed")?.to_vec())
        };
        let mut peer = Peer::new(&mut exchange, "", "", first_xid());
        (peer.session, peer.sequence, peer.user) = (self.id, self.sequence, 0);
        work(&mut peer)
    }

    /// Makes the changes. Returns the words of the last result.
    pub fn call(&mut self, client: &mut Client, ops: &[Words]) -> Result<Vec<u32>> {
        let done = self.with(client, |peer| peer.next(ops))?;
        self.sequence += 1;
        ensure!(done.status == 0, "{done:?}");
        Ok(done.last)
    }
}

/// The bytes of these words.
pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A size and a mode.
fn attributes(set: &Set) -> Vec<u32> {
    let mut values = Vec::new();
    let mut numbers = Vec::new();
    if let Some(size) = set.size {
        numbers.push(4);
        values.extend([(size >> 32) as u32, size as u32]);
    }
    if let Some(mode) = set.mode {
        numbers.push(33);
        values.push(mode);
    }
    [&bitmap(&numbers)[..], &[4 * values.len() as u32], &values].concat()
}

/// The operations of a change; none for those that are made by version 3.
pub fn operations(change: &Op, handles: &HashMap<Id, Vec<u8>>) -> Option<Vec<Words>> {
    let put = |id: &Id| with(op::PUTFH, &opaque(&handles[id]));
    let save = vec![op::SAVEFH];
    Some(match change {
        Op::Make {
            dir,
            name,
            what: New::File(how),
            ..
        } => {
            let how = match how {
                How::Unchecked(set) => [&[0], &attributes(set)[..]].concat(),
                How::Guarded(set) => [&[1], &attributes(set)[..]].concat(),
                How::Exclusive(verifier) => {
                    let (words, _) = verifier.as_chunks();
                    [2].into_iter()
                        .chain(words.iter().map(|word| u32::from_be_bytes(*word)))
                        .collect()
                }
            };
            let open = open_new("load", 3, 0, &how, name);
            vec![put(dir), open, close(CURRENT), vec![op::GETFH]]
        }
        Op::Remove { dir, name, .. } => vec![put(dir), on_names(op::REMOVE, &[name])],
        Op::Rename {
            from,
            from_name,
            to,
            to_name,
        } => {
            let names = on_names(op::RENAME, &[from_name, to_name]);
            vec![put(from), save, put(to), names]
        }
        Op::Link { file, dir, name } => {
            vec![put(file), save, put(dir), on_names(op::LINK, &[name])]
        }
        Op::Write {
            file,
            offset,
            data,
            committed,
        } => {
            let after = [&[0, *offset as u32, *committed as u32], &opaque(data)[..]].concat();
            vec![put(file), on_state(op::WRITE, &[], ANONYMOUS, &after)]
        }
        Op::Commit {
            file,
            offset,
            count,
        } => {
            let range = [0, *offset as u32, *count as u32];
            vec![put(file), with(op::COMMIT, &range)]
        }
        Op::Make { .. } | Op::SetAttr { .. } => return None,
    })
}
