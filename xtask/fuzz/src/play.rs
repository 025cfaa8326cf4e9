//! The target `calls`: runs a script on two servers. One receives each call as one record, the other in fragments and pieces. Both
//! replies must be equal and valid, and stable changes must be on the disk.

use stowaway::engine::testing::calls::{Call, CallId};
use stowaway::engine::testing::replies::{self, Body};
use stowaway::engine::testing::{Bench, VERIFIER};
use stowaway::vfs::FsError;
use stowaway::wire::nfs3::{self, Procedure};
use stowaway::wire::rpc::Reject;

use crate::script::{Framing, Script, Step};
use crate::with_bench;

/// Largest number of remembered handles.
const KNOWN_COUNT: usize = 256;
/// Index of the first timestamp in attributes (`fattr3`), in 32-bit words. Timestamps are not compared, because each stored piece
/// of a WRITE changes them.
const TIMES_AT: usize = 15;
/// Index of the first timestamp in the attributes from before an operation (`wcc_attr`), in 32-bit words.
const TIMES_BEFORE_AT: usize = 2;

type Answer = Result<Body, Reject>;

/// Runs a script.
pub fn play(script: &Script) {
    with_bench(|whole| with_bench(|parts| Play::new(whole, parts).run(script)));
}

struct Play {
    /// The server that receives each call as one record.
    whole: Bench,
    /// The server that receives each call in fragments and pieces.
    parts: Bench,
    /// True while both servers have the same files. After a failed WRITE they may have stored different parts of the data.
    alike: bool,
    /// Handles that calls use: those of the model tree, an invalid one, and those in earlier replies.
    known: Vec<Vec<u8>>,
    /// The last call, and the reply of `parts`.
    last: Option<(Call, Vec<u8>)>,
    xid: u32,
    /// True if data may not be on the disk: after an unstable or a failed WRITE, until power fails.
    unstable: bool,
    /// True after a failed WRITE or COMMIT. Then the server may return another write verifier.
    broken: bool,
}

impl Play {
    fn new(mut whole: Bench, parts: Bench) -> Self {
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
                Step::Ask(what, framing) => {
                    self.xid += 1;
                    let call = what.call(&self.known).xid(self.xid);
                    self.ask(call, framing);
                }
                Step::AskAgain(framing) => self.ask_again(framing),
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
                    for bench in [&mut self.whole, &mut self.parts] {
                        bench.tree.ram().set_free_bytes(u64::from(*left) * 16);
                    }
                }
            }
            // Without an unstable or failed WRITE, everything must be on the disk.
            let durable = self.whole.tree.ram().is_durable() && self.parts.tree.ram().is_durable();
            assert!(
                self.unstable || durable,
                "a stable change is not on the disk after {step:?}"
            );
        }
        for bench in [&self.whole, &self.parts] {
            bench.tree.ram().check();
            assert_eq!(bench.tree.ram().pinned, 0);
        }
    }

    /// Sends a call to both servers and compares the replies.
    fn ask(&mut self, call: Call, framing: &Framing) {
        let asked = CallId::of(&call.0).expect("a valid call");
        let whole = send(&mut self.whole, &call, None);
        let parts = send(&mut self.parts, &call, Some(framing));
        let [mut one, mut other] = [&whole, &parts].map(|reply| read(reply, asked));
        self.learn(&one, asked, &call);
        if self.alike {
            for answer in [&mut one, &mut other] {
                forget_times(answer);
            }
            // The reply to a call in parts may lack the attributes from before the operation. Then these are not compared.
            if let (Ok(one), Ok(other)) = (&one, &mut other) {
                for (in_parts, in_whole) in other.before.iter_mut().zip(&one.before) {
                    *in_parts = in_parts.or(*in_whole);
                }
            }
            let status = |answer: &Answer| answer.as_ref().map(|body| body.status).ok();
            self.alike =
                !(is_call_of(asked, Procedure::Write) && status(&one).is_some_and(|one| one != 0));
            assert_eq!(status(&one), status(&other), "{asked:?}");
            assert!(
                !self.alike || one == other,
                "{asked:?}: the reply is {one:?}, but to the call in parts {other:?}"
            );
        }
        // Portmap and MOUNT also serve UDP.
        let answer = (asked.procedure.0 != nfs3::PROGRAM)
            .then(|| self.whole.datagram(&call.0))
            .flatten();
        if let Some(answer) = answer {
            let _ = read(&answer, asked);
        }
        self.last = Some((call, parts));
    }

    /// Adds the handles in a reply to `known`. For WRITE and COMMIT, checks the write verifier and the stability.
    fn learn(&mut self, answer: &Answer, asked: CallId, call: &Call) {
        let Ok(body) = answer else {
            return;
        };
        let listed = body.entries.iter().filter_map(|entry| entry.handle.clone());
        for handle in listed.chain([body.handle.clone()]) {
            if !handle.is_empty() && self.known.len() < KNOWN_COUNT && !self.known.contains(&handle)
            {
                self.known.push(handle);
            }
        }
        let writes = is_call_of(asked, Procedure::Write);
        if body.status != 0 {
            self.unstable |= writes;
            self.broken |= writes || is_call_of(asked, Procedure::Commit);
            return;
        }
        if writes || is_call_of(asked, Procedure::Commit) {
            let verifier = &body.words[body.words.len() - 2..];
            let expected: Vec<u32> = VERIFIER
                .chunks(4)
                .map(|word| {
                    word.iter()
                        .fold(0, |word, byte| word << 8 | u32::from(*byte))
                })
                .collect();
            assert!(
                self.broken || verifier == expected,
                "the write verifier changed without a failed WRITE or COMMIT"
            );
        }
        if writes {
            // `stable` is the word before the data's length. The reply to a stable WRITE must say FILE_SYNC (2).
            let len = body.words[0] as usize;
            let offset = call.0.len() - len.next_multiple_of(4) - 8;
            self.unstable |= call.0[offset..offset + 4] == [0; 4];
            assert!(body.words[1] == 2 || call.0[offset..offset + 4] == [0; 4]);
        }
    }

    /// Retransmits the last call. A call that must not be carried out twice must get the same reply and change nothing.
    fn ask_again(&mut self, framing: &Framing) {
        let Some((call, reply)) = self.last.take() else {
            return;
        };
        let asked = CallId::of(&call.0).expect("a valid call");
        let before = self.parts.tree.ram().clone();
        let again = send(&mut self.parts, &call, Some(framing));
        let whole = send(&mut self.whole, &call, None);
        let answer = read(&again, asked);
        if changes(asked) && answer.is_ok() {
            assert_eq!(again, reply, "carried out twice: {asked:?}");
            assert!(
                self.parts.tree.ram().is_like(&before),
                "carried out twice: {asked:?}"
            );
        }
        let answer = read(&whole, asked);
        self.learn(&answer, asked, &call);
        self.alike &=
            !is_call_of(asked, Procedure::Write) || answer.is_ok_and(|body| body.status == 0);
        self.last = Some((call, reply));
    }
}

fn is_call_of(asked: CallId, procedure: Procedure) -> bool {
    asked.procedure == (nfs3::PROGRAM, nfs3::VERSION, procedure as u32)
}

/// Returns true if a retransmitted call of this procedure must not be carried out again.
fn changes(asked: CallId) -> bool {
    use Procedure::{Create, Link, MkDir, MkNod, Remove, Rename, RmDir, SetAttr, SymLink};
    [
        Create, Link, MkDir, MkNod, Remove, Rename, RmDir, SetAttr, SymLink,
    ]
    .into_iter()
    .any(|procedure| is_call_of(asked, procedure))
}

/// Sends a call, in fragments and pieces if `framing` is given, and returns its reply, which must be the only one.
fn send(bench: &mut Bench, call: &Call, framing: Option<&Framing>) -> Vec<u8> {
    let mut cuts: Vec<usize> = Vec::new();
    let mut piece = usize::MAX;
    if let Some(framing) = framing {
        let count = usize::from(framing.cut_count) % (framing.cuts.len() + 1);
        let ends = framing.cuts[..count].iter().map(|cut| usize::from(*cut));
        cuts.extend(ends.map(|cut| cut % call.0.len()));
        cuts.sort_unstable();
        piece = match framing.piece_bytes {
            0 => usize::MAX,
            // At most 64 pieces: only small calls arrive byte by byte.
            bytes => usize::from(bytes).max(call.0.len() / 64),
        };
    }
    let record = call.fragments(&cuts);
    let asked = CallId::of(&call.0);
    let talk = bench.send_pieces(&record, || piece);
    let end = (talk.closed, talk.consumed);
    assert_eq!(end, (None, record.len()), "{asked:?}");
    let answers = replies::records(&talk.output).expect("whole records");
    assert_eq!(answers.len(), 1, "{asked:?}");
    assert_eq!(bench.tree.ram().pinned, 0, "{asked:?}");
    answers[0].to_vec()
}

fn read(reply: &[u8], asked: CallId) -> Answer {
    replies::parse(reply, asked).unwrap_or_else(|why| panic!("{why} in the reply to {asked:?}"))
}

/// Sets all times to 0, so that they are not compared.
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
