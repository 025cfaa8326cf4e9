//! A session over a pair of streams, with a service of single letters.

use crate::config::TALK_INPUT_BYTES;
use crate::drive::platform::host::stdio::StdioSession;
use crate::engine::Cx;
use crate::engine::service::{ConnectionId, Io, Moved, Next, Progress, Service, Transfer, Way};
use crate::engine::testing::tree as testing;
use crate::event::Events;
use crate::text::text;
use crate::vfs::ram::Ram;
use crate::vfs::{OpenFlags, Pin, Tree};
use core::cell::RefCell;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use std::rc::Rc;

/// Requests: `e`: reply "e"; `w` and four digits: data of this length for the file follows; `b`: three turns of work, then reply "b"; `x`: a violation; `z`: an endless request.
#[derive(Default)]
struct Letters {
    work: usize,
    /// Number of calls that had input while work was pending.
    heard: usize,
}

fn file(vfs: &mut Tree) -> Pin {
    let how = OpenFlags {
        bits: OpenFlags::READ | OpenFlags::WRITE,
        create: None,
    };
    vfs.open_at(b"/file", &how).unwrap()
}

impl Service for Letters {
    fn advance(&mut self, _: ConnectionId, cx: &mut Cx<'_>, io: Io<'_>) -> Progress {
        let Io { input, output, .. } = io;
        let mut progress = Progress::of(0, 0, Next::Input);
        while let Some(letter) = input.get(progress.used) {
            match letter {
                b'e' => {
                    output[progress.produced] = b'e';
                    progress.produced += 1;
                }
                b'w' => {
                    let Some(digits) = input.get(progress.used + 1..progress.used + 5) else {
                        return progress;
                    };
                    let len = core::str::from_utf8(digits).unwrap().parse().unwrap();
                    // The digits are used, but not the data after them: the transfer stores that.
                    progress.used += 4;
                    progress.next = Next::Move(Transfer {
                        file: file(cx.vfs),
                        offset: 7,
                        len,
                        way: Way::ToFile,
                    });
                }
                b'b' => self.work = 3,
                b'x' => {
                    progress.next = Next::Close(text!("cannot continue the session"));
                    return progress;
                }
                b'z' => return progress,
                letter => panic!("{letter}"),
            }
            progress.used += 1;
            if matches!(progress.next, Next::Move(_)) {
                return progress;
            }
        }
        if self.work > 0 {
            self.heard += usize::from(!input.is_empty());
            self.work -= 1;
            progress.next = Next::Soon;
            if self.work == 0 {
                output[progress.produced] = b'b';
                progress.produced += 1;
                progress.next = Next::Input;
            }
        }
        progress
    }

    fn moved(&mut self, _: ConnectionId, cx: &mut Cx<'_>, done: Moved, io: Io<'_>) -> Progress {
        done.transfer.abandon(cx.vfs);
        io.output[0] = done.result.map_or(b'!', |()| b'w');
        // The input is not passed, so this is the next need even if more requests follow.
        Progress::of(0, 1, Next::Input)
    }
}

/// The peer of the session.
#[derive(Clone, Default)]
struct Peer(Rc<RefCell<Conversation>>);

#[derive(Default)]
struct Conversation {
    /// Input of the session, one read per piece.
    pieces: Vec<Vec<u8>>,
    heard: Vec<u8>,
    deaf: bool,
}

impl ErrorType for Peer {
    type Error = ErrorKind;
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let pieces = &mut self.0.borrow_mut().pieces;
        let Some(piece) = pieces.first_mut() else {
            return Ok(0);
        };
        let len = piece.len().min(buffer.len());
        buffer[..len].copy_from_slice(&piece[..len]);
        piece.drain(..len);
        if piece.is_empty() {
            pieces.remove(0);
        }
        Ok(len)
    }
}

impl ReadReady for Peer {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        // End of stream is readable, too.
        Ok(true)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let mut peer = self.0.borrow_mut();
        peer.heard.extend(bytes);
        match peer.deaf {
            true => Err(ErrorKind::BrokenPipe),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// Runs a session with the input `pieces`. Returns its output, its close reason, the service and the tree.
fn talk(
    pieces: &[&[u8]],
    size: usize,
    deaf: bool,
) -> (Vec<u8>, &'static str, Letters, testing::Tree) {
    let mut ram = Ram::model(b"/");
    ram.file("file", &vec![b'.'; size]);
    ram.writable = true;
    let mut tree = testing::Tree::of(ram);
    let peer = Peer::default();
    peer.0.borrow_mut().pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
    peer.0.borrow_mut().deaf = deaf;
    let mut letters = Letters::default();
    let mut events = Events::new(Box::new(crate::event::testing::Sink::default()));
    let mut transport = peer.clone();
    let end = StdioSession::new(&mut transport, &mut letters, &mut tree, &mut events).run();
    assert_eq!(tree.ram().pinned, 0);
    let said = peer.0.borrow().heard.clone();
    (said, end.known(), letters, tree)
}

#[test]
fn pipelined_requests_are_answered_and_eof_ends_session() {
    let (said, end, ..) = talk(&[b"eee", b"e"], 0, false);
    assert_eq!((&said[..], end), (&b"eeee"[..], ""));
}

#[test]
fn data_is_stored_from_any_pieces() {
    for pieces in [
        &[&b"ew0009123456789e"[..]][..],
        &[b"ew0009", b"1234", b"56789e"],
        &[b"e", b"w00", b"09123456789", b"e"],
    ] {
        let (said, end, _, mut tree) = talk(pieces, 20, false);
        assert_eq!((&said[..], end), (&b"ewe"[..], ""));
        let (pin, mut bytes) = (file(&mut tree), [0; 20]);
        assert_eq!(tree.read(&pin, 0, &mut bytes), Ok(20));
        assert_eq!(&bytes, b".......123456789....");
        tree.unpin(pin);
    }
}

#[test]
fn replies_leave_before_data_is_received() {
    let (said, ..) = talk(&[b"e", b"eeew0009", b"123456789", b"e"], 20, false);
    assert_eq!(said, b"eeeewe");
}

#[test]
fn data_before_a_disconnect_is_stored() {
    let (said, end, _, mut tree) = talk(&[b"ew00091234"], 20, false);
    assert_eq!((&said[..], end), (&b"e"[..], ""));
    let (pin, mut bytes) = (file(&mut tree), [0; 20]);
    assert_eq!(tree.read(&pin, 0, &mut bytes), Ok(20));
    assert_eq!(&bytes[7..12], b"1234.");
    tree.unpin(pin);
}

#[test]
fn background_work_continues_between_requests() {
    let (said, _, letters, _) = talk(&[b"eb", b"e", b"e", b"e"], 0, false);
    assert_eq!(
        letters.heard, 3,
        "input has priority, but work must continue"
    );
    assert_eq!(said.iter().filter(|byte| **byte == b'e').count(), 4);
    assert!(said.contains(&b'b') && said.last() == Some(&b'e'));
    let (said, ..) = talk(&[b"eb"], 0, false);
    assert_eq!(said, b"e", "after the end of input, work is dropped");
}

#[test]
fn violation_or_oversized_request_ends_the_session() {
    let (said, end, ..) = talk(&[b"eex"], 0, false);
    assert_eq!(
        (&said[..], end),
        (&b"ee"[..], "cannot continue the session")
    );
    let endless = vec![b'z'; TALK_INPUT_BYTES];
    let (_, end, ..) = talk(&[b"e", &endless, b"z"], 0, false);
    assert_eq!(end, "a request does not fit");
}

#[test]
fn closed_output_ends_the_session() {
    let (said, end, ..) = talk(&[b"ee"], 0, true);
    assert_eq!(
        (&said[..], end),
        (&b"ee"[..], ""),
        "ended by the first failure"
    );
}
