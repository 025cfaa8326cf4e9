//! A client that makes all kinds of changes in its own directory, and records when the server promised that each one is durable.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use cases::random::Random;
use xtask::clients::nfs::stable_how::{DATA_SYNC, FILE_SYNC, UNSTABLE};
use xtask::clients::nfs::{Client, How, Set, SetTime, mknoddata3};
use xtask::machines::nbd::Disk;

use super::op::{Id, New, Op};
use super::tree::{ObjectType, Tree};
use super::version4::{self, Session};

/// With more names than this, the load creates no new ones.
const NAMES_MAX: usize = 40;
const FILE_LEN_MAX: usize = 96 << 10;
const WRITE_LEN_MAX: usize = 24 << 10;

/// A call, and the positions in the disk's log before and after it.
pub struct Step {
    pub op: Op,
    /// Position in the log before the call was sent.
    pub sent: usize,
    /// Position in the log when the reply had arrived. After this position, the change must be durable.
    pub answered: usize,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, sent, answered } = self;
        // The data of a WRITE and the target of a link are cut.
        let op = format!("{op:?}");
        write!(f, "sent at {sent}, answered at {answered}: {op:.150}")
    }
}

/// A client. Its calls depend on the seed, not on timing.
pub struct Load<'a> {
    client: Client,
    /// A session of NFS 4.1, by which most changes are made.
    session: Option<Session>,
    disk: &'a Disk,
    random: Random,
    tree: Tree,
    handles: HashMap<Id, Vec<u8>>,
    verifier: Option<[u8; 8]>,
    steps: Vec<Step>,
}

impl<'a> Load<'a> {
    /// Creates a load that works in the empty directory with this handle.
    pub fn new(
        client: Client,
        session: Option<Session>,
        directory: Vec<u8>,
        disk: &'a Disk,
        seed: u64,
    ) -> Self {
        Self {
            client,
            session,
            disk,
            random: Random::new(seed),
            tree: Tree::new(),
            handles: HashMap::from([(Tree::ROOT, directory)]),
            verifier: None,
            steps: Vec::new(),
        }
    }

    /// Makes `count` calls, one after another, which must all succeed.
    pub fn run(mut self, count: usize) -> Result<Vec<Step>> {
        while self.steps.len() < count {
            let new = self.steps.len() + 1;
            let Some(mut op) = choose(&self.tree, &mut self.random, new) else {
                continue;
            };
            let sent = self.disk.position();
            self.call(&mut op)
                .with_context(|| format!("call {new}: {op:?}"))?;
            let answered = self.disk.position();
            self.tree.apply(&op);
            self.steps.push(Step { op, sent, answered });
        }
        Ok(self.steps)
    }

    /// Makes a change by version 4.1. Returns false if it is to be made by version 3.
    fn call_4(&mut self, op: &mut Op) -> Result<bool> {
        let Some(session) = &mut self.session else {
            return Ok(false);
        };
        let Some(ops) = version4::operations(op, &self.handles) else {
            return Ok(false);
        };
        let last = session.call(&mut self.client, &ops)?;
        let verifier = match op {
            Op::Make { dir, name, new, .. } => {
                let id = *self.tree.names(*dir).get(name).unwrap_or(new);
                let (len, words) = last.split_first().context("no handle")?;
                let mut handle = version4::bytes(words);
                handle.truncate(*len as usize);
                return self.record_handle(id, handle).map(|()| true);
            }
            Op::Write {
                data, committed, ..
            } => {
                data.truncate(last[0] as usize);
                ensure!(last[1] >= *committed as u32, "{last:?}");
                *committed = if last[1] == 0 { UNSTABLE } else { FILE_SYNC };
                &last[2..]
            }
            Op::Commit { .. } => &last[..],
            _ => return Ok(true),
        };
        let verifier = version4::bytes(verifier);
        let known = *self.verifier.get_or_insert(verifier[..].try_into()?);
        ensure!(known[..] == verifier, "the write verifier changed");
        Ok(true)
    }

    fn call(&mut self, op: &mut Op) -> Result<()> {
        if self.call_4(op)? {
            return Ok(());
        }
        let Self {
            client, handles, ..
        } = self;
        let handle = |id: &Id| handles[id].as_slice();
        let verifier = match op {
            Op::Make {
                dir,
                name,
                new,
                what,
            } => {
                let at = handle(dir);
                let made = match what {
                    New::File(how) => client.create(at, name, *how),
                    New::Directory(mode) => client.mkdir(at, name, Set::mode(*mode)),
                    New::SymLink(target) => client.symlink(at, name, target),
                    New::Fifo(mode) => {
                        client.mknod(at, name, mknoddata3::NF3FIFO(Set::mode(*mode).into()))
                    }
                };
                // An UNCHECKED CREATE may have opened an existing file.
                let id = self.tree.names(*dir).get(name).unwrap_or(new);
                return self.record_handle(*id, made?);
            }
            Op::Remove { dir, name, is_dir } => {
                return match is_dir {
                    true => client.rmdir(handle(dir), name),
                    false => client.remove(handle(dir), name),
                };
            }
            Op::Rename {
                from,
                from_name,
                to,
                to_name,
            } => {
                return client.rename(handle(from), from_name, handle(to), to_name);
            }
            Op::Link { file, dir, name } => return client.link(handle(file), handle(dir), name),
            Op::SetAttr { object, set } => return client.set_attr(handle(object), *set),
            Op::Write {
                file,
                offset,
                data,
                committed,
            } => {
                let wrote = client.write(handle(file), *offset as u64, *committed, data)?;
                data.truncate(wrote.count as usize);
                // The server may commit more than requested.
                *committed = wrote.committed;
                wrote.verifier
            }
            Op::Commit {
                file,
                offset,
                count,
            } => client.commit(handle(file), *offset as u64, (*count).try_into()?)?,
        };
        ensure!(
            *self.verifier.get_or_insert(verifier) == verifier,
            "the write verifier changed while the server ran"
        );
        Ok(())
    }

    fn record_handle(&mut self, id: Id, handle: Vec<u8>) -> Result<()> {
        let known = self.handles.insert(id, handle);
        ensure!(
            known.is_none_or(|known| known == self.handles[&id]),
            "an existing object got another handle"
        );
        Ok(())
    }
}

/// Directory, name and object.
type Entry<'a> = (Id, &'a str, Id);

/// A random call that must succeed; None if no object suits the chosen kind of call.
fn choose(tree: &Tree, random: &mut Random, new: Id) -> Option<Op> {
    let all = tree.walk();
    let (dirs, others): (Vec<&Entry<'_>>, Vec<_>) =
        all.iter().partition(|entry| is_dir(tree, entry.2));
    let files: Vec<Id> = others
        .iter()
        .map(|entry| entry.2)
        .filter(|&id| is_file(tree, id))
        .collect();
    // Half of the calls act on the top directory.
    let dir = match random.chance(50) {
        true => Tree::ROOT,
        false => pick(random, &dirs).map_or(Tree::ROOT, |entry| entry.2),
    };
    let name = format!("{new}-{}", "n".repeat(random.below(20)));
    let grows = all.len() < NAMES_MAX;
    match random.below(100) {
        kind @ 0..25 if grows => Some(Op::Make {
            dir,
            name,
            new,
            what: choose_new(random, kind),
        }),
        25..30 if grows => pick(random, &files).map(|&file| Op::Link { file, dir, name }),
        30..32 => {
            // Truncates an existing file to 0 bytes.
            let &&(dir, name, _) = pick(random, &others).filter(|other| is_file(tree, other.2))?;
            let (name, what) = (name.to_owned(), New::File(How::Unchecked(Set::size(0))));
            Some(Op::Make {
                dir,
                name,
                new,
                what,
            })
        }
        kind @ 32..44 => {
            let is_dir = kind >= 40;
            let empty = dirs.iter().filter(|entry| tree.names(entry.2).is_empty());
            let removable = if is_dir {
                empty.copied().collect()
            } else {
                others
            };
            let &&(dir, name, _) = pick(random, &removable)?;
            let name = name.to_owned();
            Some(Op::Remove { dir, name, is_dir })
        }
        44..54 => rename(tree, random, &all, dir, name),
        54..66 => {
            let &(_, _, object) = pick(random, &all)?;
            set_attr(tree, random, object)
        }
        66..92 => write(tree, random, &files),
        92..100 => commit(tree, random, &files),
        _ => None,
    }
}

fn choose_new(random: &mut Random, kind: usize) -> New {
    let mode = 0o400 | random.below(0o1000) as u32;
    match kind {
        0..12 => {
            let set = Set::mode(mode);
            New::File(match random.below(3) {
                0 => How::Guarded(set),
                1 => How::Unchecked(set),
                // The server stores the verifier in the file's times. The mask keeps these times valid.
                _ => How::Exclusive((random.number() & 0x7f7f_7f7f_7f7f_7f7f).to_be_bytes()),
            })
        }
        12..19 => New::Directory(mode),
        19..23 => {
            // ext4 stores targets of up to 59 bytes in the inode, longer ones in a block.
            let len_max = *random.pick(&[59, 1000]);
            New::SymLink("t/".repeat(1 + random.below(len_max / 2)))
        }
        _ => New::Fifo(mode),
    }
}

fn rename(tree: &Tree, random: &mut Random, all: &[Entry<'_>], to: Id, name: String) -> Option<Op> {
    let &(from, from_name, moved) = pick(random, all)?;
    let to_name = match random.chance(50) {
        true => name,
        false => replaceable(tree, random, to, moved)?,
    };
    // A directory cannot be moved into itself.
    let fits = !is_dir(tree, moved) || !is_descendant(tree, moved, to);
    fits.then(|| Op::Rename {
        from,
        from_name: from_name.to_owned(),
        to,
        to_name,
    })
}

fn write(tree: &Tree, random: &mut Random, files: &[Id]) -> Option<Op> {
    let file = *pick(random, files)?;
    let len_max = *random.pick(&[5000, 5000, WRITE_LEN_MAX]);
    let len = 1 + random.below(len_max);
    // The offset is mostly within the file, so that the write overlaps existing bytes.
    let offset = random.below((tree.content(file).len_max() + 5000).min(FILE_LEN_MAX));
    let committed = *random.pick(&[UNSTABLE, UNSTABLE, DATA_SYNC, FILE_SYNC]);
    let data = random.bytes(len);
    Some(Op::Write {
        file,
        offset,
        committed,
        data,
    })
}

/// A COMMIT of a whole file, or of the range of one WRITE.
fn commit(tree: &Tree, random: &mut Random, files: &[Id]) -> Option<Op> {
    let dirty = files
        .iter()
        .copied()
        .filter(|&file| !tree.content(file).pending.is_empty());
    let file = *pick(random, &dirty.collect::<Vec<_>>())?;
    let (offset, count) = match random.chance(60) {
        true => (0, 0),
        false => {
            let (offset, data) = pick(random, &tree.content(file).pending)?;
            (*offset, data.len())
        }
    };
    Some(Op::Commit {
        file,
        offset,
        count,
    })
}

/// A name in `dir` that a RENAME of `moved` may replace.
fn replaceable(tree: &Tree, random: &mut Random, dir: Id, moved: Id) -> Option<String> {
    let fits = |&(_, &id): &(&String, &Id)| {
        id != moved
            && match (&tree.node(moved).kind, &tree.node(id).kind) {
                (ObjectType::Directory(_), ObjectType::Directory(names)) => names.is_empty(),
                (ObjectType::Directory(_), _) | (_, ObjectType::Directory(_)) => false,
                _ => true,
            }
    };
    let names: Vec<&String> = tree
        .names(dir)
        .iter()
        .filter(fits)
        .map(|(name, _)| name)
        .collect();
    Some((*pick(random, &names)?).clone())
}

fn set_attr(tree: &Tree, random: &mut Random, object: Id) -> Option<Op> {
    let mut set = Set::default();
    let kind = &tree.node(object).kind;
    if let ObjectType::File(content) = kind
        && random.chance(50)
    {
        set.size = Some(random.below((content.len_max() + 3000).min(FILE_LEN_MAX)) as u64);
    }
    // Symlinks have no mode of their own.
    if !matches!(kind, ObjectType::SymLink(_)) && random.chance(50) {
        set.mode = Some(0o400 | random.below(0o1000) as u32);
    }
    if random.chance(20) {
        set.uid = Some(1000 + random.below(10) as u32);
    }
    if random.chance(30) {
        set.mtime = SetTime::Client(
            random.below(1 << 31) as u32,
            random.below(1_000_000_000) as u32,
        );
    }
    (set != Set::default()).then_some(Op::SetAttr { object, set })
}

fn pick<'a, T>(random: &mut Random, choices: &'a [T]) -> Option<&'a T> {
    choices.get(random.below(choices.len()))
}

fn is_dir(tree: &Tree, id: Id) -> bool {
    matches!(tree.node(id).kind, ObjectType::Directory(_))
}

fn is_file(tree: &Tree, id: Id) -> bool {
    matches!(tree.node(id).kind, ObjectType::File(_))
}

/// Returns true if `to` is `from` or a descendant of it.
fn is_descendant(tree: &Tree, from: Id, to: Id) -> bool {
    from == to
        || tree
            .names(from)
            .values()
            .any(|&id| is_dir(tree, id) && is_descendant(tree, id, to))
}
