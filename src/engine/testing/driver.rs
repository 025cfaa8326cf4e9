//! Plays the driver for one session of an engine: bytes in pieces in, bytes out, transfers with the model tree.

use crate::engine::service::{Moved, Next, Progress, Transfer, Way};
use crate::vfs::{self, FsResult};

/// The engine's reaction to a stream of requests.
#[derive(Debug, Default)]
pub struct Talk {
    /// The output of the engine.
    pub output: Vec<u8>,
    /// The reason why the engine closed the connection; `None` if it did not.
    pub closed: Option<&'static str>,
    /// Length of the input that was used (bytes).
    pub consumed: usize,
    /// Number of calls of the engine.
    pub turns: usize,
    /// Number of calls for long work after the end of the input.
    pub idle: usize,
    /// A transfer that waits for input beyond the end of the stream.
    pub transfer: Option<Transfer>,
}

/// An engine with one session.
pub trait Engine {
    /// Length of the longest input that is passed (bytes).
    const INPUT_BYTES: usize;
    /// Passes input.
    fn advance(&mut self, input: &[u8]) -> Progress;
    /// Passes a transfer that has ended.
    fn moved(&mut self, done: Moved) -> Progress;
    /// Syncs what the replies promise, and returns them.
    fn replies(&mut self, progress: &Progress) -> &[u8];
    /// The files.
    fn tree(&mut self) -> &mut vfs::Tree;
}

/// Passes `input` in pieces and carries out transfers, first `transfer`. Returns when the input is used up or the connection is
/// closed.
pub fn talk<E: Engine>(
    engine: &mut E,
    transfer: Option<Transfer>,
    input: &[u8],
    mut piece: impl FnMut() -> usize,
) -> Talk {
    let mut talk = Talk::default();
    let mut given = 0;
    let mut progress = transfer.map(|transfer| Progress::of(0, 0, Next::Move(transfer)));
    loop {
        let window = &input[talk.consumed..given];
        let progress = progress.take().unwrap_or_else(|| engine.advance(window));
        assert!(progress.used <= window.len());
        talk.turns += 1;
        talk.consumed += progress.used;
        let before = talk.output.len();
        talk.output.extend(engine.replies(&progress));
        let mut next = progress.next;
        let mut has_moved = false;
        while let Next::Move(mut transfer) = next {
            let Some(result) = carry_out(engine, &mut transfer, input, &mut talk, &mut piece)
            else {
                talk.transfer = Some(transfer);
                return talk;
            };
            given = given.max(talk.consumed);
            let progress = engine.moved(Moved { transfer, result });
            assert_eq!(progress.used, 0);
            talk.output.extend(engine.replies(&progress));
            (next, has_moved) = (progress.next, true);
        }
        let left = given - talk.consumed;
        let mut more = || {
            piece()
                .clamp(1, E::INPUT_BYTES - left)
                .min(input.len() - given)
        };
        match next {
            Next::Close(why) => {
                talk.closed = Some(why.known());
                return talk;
            }
            Next::Drain => {
                talk.closed = Some("");
                return talk;
            }
            // The transfer was passed no input, which may contain more requests.
            _ if has_moved => {}
            Next::Until(_) => {}
            Next::Output => {
                assert!(
                    talk.output.len() > before,
                    "an empty output did not suffice"
                );
            }
            Next::Input | Next::Rest if given == input.len() => return talk,
            Next::Input | Next::Rest => {
                assert!(left < E::INPUT_BYTES, "a full input did not suffice");
                given += more();
            }
            Next::Soon => {
                talk.idle += usize::from(given == input.len());
                if left < E::INPUT_BYTES {
                    given += more();
                }
            }
            Next::Move(_) => unreachable!("carried out above"),
        }
    }
}

/// Carries out a transfer. Returns its result, or `None` if the input ends before its data.
fn carry_out<E: Engine>(
    engine: &mut E,
    Transfer {
        file,
        offset,
        len,
        way,
    }: &mut Transfer,
    input: &[u8],
    talk: &mut Talk,
    piece: &mut dyn FnMut() -> usize,
) -> Option<FsResult<()>> {
    assert!(*len > 0, "a transfer of nothing");
    if *way == Way::ToPeer {
        let start = talk.output.len();
        talk.output.resize(start + *len as usize, 0);
        let mut read = || engine.tree().read(file, *offset, &mut talk.output[start..]);
        // The driver repeats a read that must wait for a disk.
        let got = match read() {
            Err(error) if error.stops() => read(),
            got => got,
        };
        assert_eq!(
            got.map(u64::from),
            Ok(*len),
            "more was promised than there is"
        );
        return Some(Ok(()));
    }
    while *len > 0 {
        let left = input.len() - talk.consumed;
        let here = piece().clamp(1, *len as usize).min(left);
        if here == 0 {
            return None;
        }
        let bytes = &input[talk.consumed..][..here];
        let written = engine.tree().write(file, *offset, bytes);
        talk.consumed += here;
        *offset += here as u64;
        *len -= here as u64;
        if written.is_err() {
            return Some(written);
        }
    }
    Some(Ok(()))
}
