//! One client that changes a directory of its own in every way the protocol has, and remembers when it was promised what.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use cases::random::Random;
use xtask::clients::nfs::{Client, How, Set, SetTime, mknoddata3, stable_how};
use xtask::machines::nbd::Disk;

use super::op::{Id, Op};
use super::tree::{Kind, Tree};

/// When there are more names than this, the load rather removes some.
const NAMES_MAX: usize = 40;
const FILE_LEN_MAX: usize = 96 << 10;
const WRITE_LEN_MAX: usize = 24 << 10;

/// A call, and the positions of the disk's log between which it did what it does.
pub struct Step {
    pub op: Op,
    /// Before it was sent.
    pub sent: usize,
    /// When the answer was here: from this position on it is promised.
    pub answered: usize,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, sent, answered } = self;
        write!(f, "sent at {sent}, answered at {answered}: {op:?}")
    }
}

/// The client. What it asks for depends on the seed alone, not on time.
pub struct Load<'a> {
    client: Client,
    disk: &'a Disk,
    random: Random,
    tree: Tree,
    handles: HashMap<Id, Vec<u8>>,
    verifier: Option<[u8; 8]>,
    steps: Vec<Step>,
}

impl<'a> Load<'a> {
    /// Will work in the directory with this handle, which is empty.
    pub fn new(client: Client, directory: Vec<u8>, disk: &'a Disk, seed: u64) -> Self {
        Self {
            client,
            disk,
            random: Random::new(seed),
            tree: Tree::new(),
            handles: HashMap::from([(Tree::ROOT, directory)]),
            verifier: None,
            steps: Vec::new(),
        }
    }

    /// Makes `count` calls, one after the other, all of which must succeed.
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

    fn call(&mut self, op: &mut Op) -> Result<()> {
        let Self {
            client, handles, ..
        } = self;
        let handle = |id: &Id| handles[id].as_slice();
        let verifier = match op {
            Op::Create {
                dir,
                name,
                new,
                how,
            } => {
                let made = client.create(handle(dir), name, *how)?;
                // The file may have been there.
                let id = self.tree.names(*dir).get(name).unwrap_or(new);
                return self.knows(*id, made);
            }
            Op::MkDir {
                dir,
                name,
                new,
                mode,
            } => {
                let made = client.mkdir(handle(dir), name, Set::mode(*mode))?;
                return self.knows(*new, made);
            }
            Op::SymLink {
                dir,
                name,
                new,
                target,
            } => {
                let made = client.symlink(handle(dir), name, target)?;
                return self.knows(*new, made);
            }
            Op::Fifo {
                dir,
                name,
                new,
                mode,
            } => {
                let made = client.mknod(
                    handle(dir),
                    name,
                    mknoddata3::NF3FIFO(Set::mode(*mode).into()),
                )?;
                return self.knows(*new, made);
            }
            Op::Remove { dir, name } => return client.remove(handle(dir), name),
            Op::RmDir { dir, name } => return client.rmdir(handle(dir), name),
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
                // The server may promise more than it was asked for.
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

    fn knows(&mut self, id: Id, handle: Vec<u8>) -> Result<()> {
        let known = self.handles.insert(id, handle);
        ensure!(
            known.is_none_or(|known| known == self.handles[&id]),
            "a file that exists gets another handle"
        );
        Ok(())
    }
}

/// A call that must succeed, or None when there is nothing for the kind of call that chance took.
fn choose(tree: &Tree, random: &mut Random, new: Id) -> Option<Op> {
    let all = tree.walk();
    let mut dirs = vec![Tree::ROOT];
    dirs.extend(
        all.iter()
            .map(|&(_, _, id)| id)
            .filter(|&id| is_dir(tree, id)),
    );
    let files: Vec<Id> = all
        .iter()
        .map(|&(_, _, id)| id)
        .filter(|&id| is_file(tree, id))
        .collect();
    let others: Vec<_> = all
        .iter()
        .filter(|&&(_, _, id)| !is_dir(tree, id))
        .collect();
    // Half of all that happens to names happens in the directory itself.
    let dir = if random.chance(50) {
        Tree::ROOT
    } else {
        *random.pick(&dirs)
    };
    let name = format!("{new}-{}", "n".repeat(random.below(20)));
    let mode = 0o400 | random.below(0o1000) as u32;
    let grows = all.len() < NAMES_MAX;
    match random.below(100) {
        0..12 if grows => {
            let set = Set::mode(mode);
            let how = match random.below(3) {
                0 => How::Guarded(set),
                1 => How::Unchecked(set),
                // No bit that would make a time of it that is out of range.
                _ => How::Exclusive((random.number() & 0x7f7f_7f7f_7f7f_7f7f).to_be_bytes()),
            };
            Some(Op::Create {
                dir,
                name,
                new,
                how,
            })
        }
        12..14 => {
            // Cuts a file to nothing.
            let &&(dir, name, _) = others
                .get(random.below(others.len()))
                .filter(|other| is_file(tree, other.2))?;
            Some(Op::Create {
                dir,
                name: name.to_owned(),
                new,
                how: How::Unchecked(Set::size(0)),
            })
        }
        14..21 if grows => Some(Op::MkDir {
            dir,
            name,
            new,
            mode,
        }),
        21..25 if grows => {
            // Up to 59 bytes lie in the inode, more in a block.
            let len_max = *random.pick(&[59, 1000]);
            let target = "t/".repeat(1 + random.below(len_max / 2));
            Some(Op::SymLink {
                dir,
                name,
                new,
                target,
            })
        }
        25..27 if grows => Some(Op::Fifo {
            dir,
            name,
            new,
            mode,
        }),
        27..32 if grows => Some(Op::Link {
            file: *pick(random, &files)?,
            dir,
            name,
        }),
        32..40 => {
            let &&(dir, name, _) = pick(random, &others)?;
            Some(Op::Remove {
                dir,
                name: name.to_owned(),
            })
        }
        40..44 => {
            let empty =
                |&&(_, _, id): &&(Id, &str, Id)| is_dir(tree, id) && tree.names(id).is_empty();
            let empty: Vec<_> = all.iter().filter(empty).collect();
            let &&(dir, name, _) = pick(random, &empty)?;
            Some(Op::RmDir {
                dir,
                name: name.to_owned(),
            })
        }
        44..54 => {
            let &(from, from_name, moved) = pick(random, &all)?;
            let to_name = if random.chance(50) {
                name
            } else {
                replaceable(tree, random, dir, moved)?
            };
            // Nothing moves into itself.
            let fits = !is_dir(tree, moved) || !reaches(tree, moved, dir);
            fits.then(|| Op::Rename {
                from,
                from_name: from_name.to_owned(),
                to: dir,
                to_name,
            })
        }
        54..66 => {
            let &(_, _, object) = pick(random, &all)?;
            set_attr(tree, random, object)
        }
        66..92 => {
            let file = *pick(random, &files)?;
            let len_max = *random.pick(&[5000, 5000, WRITE_LEN_MAX]);
            let len = 1 + random.below(len_max);
            // Mostly near what is there, so that old bytes and new ones meet.
            let offset = random.below((tree.content(file).len_max() + 5000).min(FILE_LEN_MAX));
            let committed = *random.pick(&[
                stable_how::UNSTABLE,
                stable_how::UNSTABLE,
                stable_how::DATA_SYNC,
                stable_how::FILE_SYNC,
            ]);
            Some(Op::Write {
                file,
                offset,
                data: random.bytes(len),
                committed,
            })
        }
        92..100 => {
            let dirty: Vec<Id> = files
                .into_iter()
                .filter(|&file| !tree.content(file).pending.is_empty())
                .collect();
            let file = *pick(random, &dirty)?;
            if random.chance(60) {
                return Some(Op::Commit {
                    file,
                    offset: 0,
                    count: 0,
                });
            }
            let (offset, data) = pick(random, &tree.content(file).pending)?;
            Some(Op::Commit {
                file,
                offset: *offset,
                count: data.len(),
            })
        }
        _ => None,
    }
}

/// A name in `dir` that `moved` may replace.
fn replaceable(tree: &Tree, random: &mut Random, dir: Id, moved: Id) -> Option<String> {
    let fits = |&(_, &id): &(&String, &Id)| {
        id != moved
            && match (&tree.node(moved).kind, &tree.node(id).kind) {
                (Kind::Directory(_), Kind::Directory(names)) => names.is_empty(),
                (Kind::Directory(_), _) | (_, Kind::Directory(_)) => false,
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
    if let Kind::File(content) = kind
        && random.chance(50)
    {
        set.size = Some(random.below((content.len_max() + 3000).min(FILE_LEN_MAX)) as u64);
    }
    // A symlink has no mode.
    if !matches!(kind, Kind::SymLink(_)) && random.chance(50) {
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
    matches!(tree.node(id).kind, Kind::Directory(_))
}

fn is_file(tree: &Tree, id: Id) -> bool {
    matches!(tree.node(id).kind, Kind::File(_))
}

/// Whether `to` is `from` or lies beneath it.
fn reaches(tree: &Tree, from: Id, to: Id) -> bool {
    from == to
        || tree
            .names(from)
            .values()
            .any(|&id| is_dir(tree, id) && reaches(tree, id, to))
}
