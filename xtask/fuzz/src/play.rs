//! Plays a script on two servers: to one each call comes whole, to the other in fragments and pieces. Both must answer the
//! same, as the RFCs write it, and keep what they promised.

use stowaway::engine::testing::calls::{Asked, Call};
use stowaway::engine::testing::replies::{self, Body};
use stowaway::engine::testing::{VERIFIER, World};
use stowaway::vfs::FsError;
use stowaway::wire::nfs3::{self, Procedure};
use stowaway::wire::rpc::Reject;

use crate::script::{Script, Step, Way};
use crate::with_world;

/// Objects that are remembered.
const KNOWN_COUNT: usize = 256;
/// Where in attributes the times are, which move with each piece that is stored.
const TIMES_AT: usize = 15;
/// The same in what is told of before.
const TIMES_BEFORE_AT: usize = 2;

type Answer = Result<Body, Reject>;

/// Plays a script to its end.
pub fn play(script: &Script) {
    with_world(|whole| with_world(|parts| Play::new(whole, parts).run(script)));
}

struct Play {
    whole: World,
    parts: World,
    /// Whether both are still the same: of a write that fails, more or less is written.
    alike: bool,
    known: Vec<Vec<u8>>,
    last: Option<(Call, Vec<u8>)>,
    xid: u32,
    /// Whether something was written that need not be on disk.
    unstable: bool,
    /// Whether a sync has failed, so that promises end with another verifier.
    broken: bool,
}

impl Play {
    fn new(mut whole: World, parts: World) -> Self {
        let paths = [
            "",
            "hello",
            "dir",
            "big",
            "link",
            "fifo",
            "empty",
            "many",
            "dir/inner",
        ];
        let mut known: Vec<Vec<u8>> = paths.map(|path| whole.handle(path)).into();
        known.push(b"no handle of anybody".to_vec());
        Self {
            whole,
            parts,
            alike: true,
            known,
            last: None,
            xid: 0,
            unstable: false,
            broken: false,
        }
    }

    fn run(mut self, script: &Script) {
        for step in script.steps.iter().take(200) {
            match step {
                Step::Ask(what, way) => {
                    self.xid += 1;
                    let call = what.call(&self.known).xid(self.xid);
                    self.ask(call, way);
                }
                Step::AskAgain(way) => self.ask_again(way),
                Step::PowerFails => {
                    self.whole.tree.ram().lose_power();
                    self.parts.tree.ram().lose_power();
                    self.unstable = false;
                }
                Step::DiskFails(write, sync) => {
                    for ram in [&mut self.whole.tree.ram(), &mut self.parts.tree.ram()] {
                        ram.write_fails = write.then_some(FsError::Io);
                        ram.sync_fails = sync.then_some(FsError::Io);
                    }
                }
                Step::DiskIsFull(left) => {
                    for world in [&mut self.whole, &mut self.parts] {
                        world.tree.ram().leave_space(u64::from(*left) * 16);
                    }
                }
            }
            // What is neither unstable nor failed is on disk.
            let durable = self.whole.tree.ram().is_durable() && self.parts.tree.ram().is_durable();
            assert!(self.unstable || durable, "a promise was not kept: {step:?}");
        }
        for world in [&self.whole, &self.parts] {
            world.tree.ram().check();
            assert_eq!(world.tree.ram().pinned, 0);
        }
    }

    fn ask(&mut self, call: Call, way: &Way) {
        let asked = Asked::of(&call.0).expect("it is a call");
        let whole = send(&mut self.whole, &call, None);
        let parts = send(&mut self.parts, &call, Some(way));
        let [mut one, mut other] = [&whole, &parts].map(|reply| read(reply, asked));
        self.learn(&one, asked, &call);
        if self.alike {
            for answer in [&mut one, &mut other] {
                forget_times(answer);
            }
            if let (Ok(one), Ok(other)) = (&one, &mut other) {
                for (was, told) in other.before.iter_mut().zip(&one.before) {
                    *was = was.or(*told);
                }
            }
            let status = |answer: &Answer| answer.as_ref().map(|body| body.status).ok();
            self.alike = !(is(asked, Procedure::Write) && status(&one).is_some_and(|one| one != 0));
            assert_eq!(status(&one), status(&other), "{asked:?}");
            assert!(
                !self.alike || one == other,
                "{asked:?}: {one:?}, but in parts {other:?}"
            );
        }
        let datagrams = (asked.what.0 != nfs3::PROGRAM)
            .then(|| self.whole.datagram(&call.0))
            .flatten();
        if let Some(answer) = datagrams {
            let _ = read(&answer, asked);
        }
        self.last = Some((call, parts));
    }

    /// Remembers what an answer says.
    fn learn(&mut self, answer: &Answer, asked: Asked, call: &Call) {
        let Ok(body) = answer else {
            return;
        };
        let told = body.entries.iter().filter_map(|entry| entry.handle.clone());
        for handle in told.chain([body.handle.clone()]) {
            if !handle.is_empty() && self.known.len() < KNOWN_COUNT && !self.known.contains(&handle)
            {
                self.known.push(handle);
            }
        }
        let writes = is(asked, Procedure::Write);
        if body.status != 0 {
            self.unstable |= writes;
            self.broken |= writes || is(asked, Procedure::Commit);
            return;
        }
        if writes || is(asked, Procedure::Commit) {
            let told = &body.words[body.words.len() - 2..];
            let first: Vec<u32> = VERIFIER
                .chunks(4)
                .map(|word| {
                    word.iter()
                        .fold(0, |word, byte| word << 8 | u32::from(*byte))
                })
                .collect();
            assert!(
                self.broken || told == first,
                "another verifier without a reason"
            );
        }
        if writes {
            // The word before the data's length says how it is to be kept.
            let len = body.words[0] as usize;
            let at = call.0.len() - len.next_multiple_of(4) - 8;
            self.unstable |= call.0[at..at + 4] == [0; 4];
            assert!(body.words[1] == 2 || call.0[at..at + 4] == [0; 4]);
        }
    }

    fn ask_again(&mut self, way: &Way) {
        let Some((call, told)) = self.last.take() else {
            return;
        };
        let asked = Asked::of(&call.0).expect("it is a call");
        let was = self.parts.tree.ram().clone();
        let again = send(&mut self.parts, &call, Some(way));
        let whole = send(&mut self.whole, &call, None);
        let answer = read(&again, asked);
        if changes(asked) && answer.is_ok() {
            assert_eq!(again, told, "it was done twice: {asked:?}");
            assert!(
                self.parts.tree.ram().is_like(&was),
                "it was done twice: {asked:?}"
            );
        }
        let answer = read(&whole, asked);
        self.learn(&answer, asked, &call);
        self.alike &= !is(asked, Procedure::Write) || answer.is_ok_and(|body| body.status == 0);
        self.last = Some((call, told));
    }
}

fn is(asked: Asked, procedure: Procedure) -> bool {
    asked.what == (nfs3::PROGRAM, nfs3::VERSION, procedure as u32)
}

/// Whether a request must not be carried out twice.
fn changes(asked: Asked) -> bool {
    use Procedure::{Create, Link, MkDir, MkNod, Remove, Rename, RmDir, SetAttr, SymLink};
    [
        Create, Link, MkDir, MkNod, Remove, Rename, RmDir, SetAttr, SymLink,
    ]
    .into_iter()
    .any(|procedure| is(asked, procedure))
}

/// The one reply to a call that comes this way.
fn send(world: &mut World, call: &Call, way: Option<&Way>) -> Vec<u8> {
    let mut cuts: Vec<usize> = Vec::new();
    let mut piece = usize::MAX;
    if let Some(way) = way {
        let count = usize::from(way.cut_count) % (way.cuts.len() + 1);
        let ends = way.cuts[..count].iter().map(|cut| usize::from(*cut));
        cuts.extend(ends.map(|cut| cut % call.0.len()));
        cuts.sort_unstable();
        piece = match way.piece_bytes {
            0 => usize::MAX,
            // A byte at a time is tried by small calls only.
            bytes => usize::from(bytes).max(call.0.len() / 64),
        };
    }
    let record = call.fragments(&cuts);
    let asked = Asked::of(&call.0);
    let talk = world.send_in(&record, || piece);
    let end = (talk.closed, talk.consumed);
    assert_eq!(end, (None, record.len()), "{asked:?}");
    let answers = replies::records(&talk.output).expect("records");
    assert_eq!(answers.len(), 1, "{asked:?}");
    assert_eq!(world.tree.ram().pinned, 0, "{asked:?}");
    answers[0].to_vec()
}

fn read(reply: &[u8], asked: Asked) -> Answer {
    replies::parse(reply, asked).unwrap_or_else(|why| panic!("{why} in the answer to {asked:?}"))
}

fn forget_times(answer: &mut Answer) {
    let Ok(body) = answer else {
        return;
    };
    let listed = body.entries.iter_mut().map(|entry| &mut entry.attributes);
    for attributes in body.attributes.iter_mut().chain(listed).flatten() {
        attributes[TIMES_AT..].fill(0);
    }
    for before in body.before.iter_mut().flatten() {
        before[TIMES_BEFORE_AT..].fill(0);
    }
}
