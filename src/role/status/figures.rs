//! Prints the figures of the servers that run on this host and can be found.
//!
//! Each process of a server gives the figures of all. One is enough, but each is asked, so that one that hangs is seen.

use super::Options;
use crate::console::{FAILED, complain, print};
use crate::event::{Fatal, Line};
use crate::mem::Ends as _;
use crate::os::status::{self, SOCKET_COUNT_MAX, Silence, Socket, find};
use crate::stats::{Answer, Form, Page, RowPlace};
use crate::sys;
use crate::text::{Text, text};
use crate::time::Duration;

/// Interval of `--watch`.
const INTERVAL: Duration = Duration::from_secs(2);
/// Size (bytes) of the pieces in which a page is printed.
const PIECE_BYTES: usize = 4 << 10;

impl Options {
    /// Prints the figures, with `--watch` until the process is ended.
    pub(super) fn print_figures(&self) -> Result<(), Fatal> {
        let mut answer = Answer::default();
        loop {
            if self.watches && !self.is_json && status::prints_to_terminal() {
                print(b"\x1b[H\x1b[J");
            }
            let found = self.look(&mut answer);
            if !self.watches {
                return found;
            }
            status::pause(INTERVAL);
        }
    }

    /// Asks all servers, and prints their figures.
    fn look(&self, answer: &mut Answer) -> Result<(), Fatal> {
        let mut known = heapless::Vec::<u32, SOCKET_COUNT_MAX>::new();
        let mut silent = heapless::Vec::<(Socket, Silence), SOCKET_COUNT_MAX>::new();
        let mut count = 0;
        let is_complete = find(&mut |socket| {
            let is_known = known.contains(&socket.pid);
            answer.clear();
            let result = socket.ask(&mut |line| answer.read(line));
            let is_wanted = self.pid.is_none_or(|pid| {
                let pids = answer.sheets().iter().map(|sheet| sheet.pid());
                is_known
                    || pids.chain([socket.pid.into()]).any(|of| of == pid.into())
                    || socket.parent() == pid
            });
            match result {
                _ if !is_wanted => {}
                Err(Silence::Ended) => {}
                Err(silence) => _ = silent.push((socket, silence)),
                Ok(()) if is_known => {}
                Ok(()) => {
                    for sheet in answer.sheets() {
                        let _ = known.push(sheet.pid() as u32);
                    }
                    if self.is_json {
                        print(if count == 0 { b"{\"servers\":[" } else { b"," });
                    } else if count > 0 {
                        print(b"\n\n");
                    }
                    count += 1;
                    self.print(answer);
                }
            }
        });
        if self.is_json {
            print(if count == 0 { b"{\"servers\":[" } else { b"" });
        }
        self.print_silent(&silent);
        let why = match (sys::user_id(), is_complete) {
            (_, false) => text!("without /proc, only those that root has started are seen"),
            (0, _) => Text::NOTHING,
            _ => text!("servers of other users are shown to root only"),
        };
        match count {
            // The processes that gave no figures are named.
            0 if !silent.is_empty() => Err(FAILED),
            0 => Err(complain(FAILED, text!("no server is found"), b"", why)),
            _ => Ok(()),
        }
    }

    fn print(&self, answer: &Answer) {
        let wall_secs = sys::wall_clock().0.unsigned_abs();
        let form = if self.is_json {
            Form::Json
        } else {
            Form::Plain
        };
        answer.read_by(&mut |reader| {
            let page = Page {
                reader,
                wall_secs,
                form,
            };
            let mut next = Some(RowPlace::default());
            while let Some(place) = next {
                let mut piece = [0; PIECE_BYTES];
                let (len, place) = page.write(place, &mut piece);
                print(piece.head(len));
                next = place;
            }
        });
    }

    /// Prints the processes that gave no figures.
    fn print_silent(&self, silent: &[(Socket, Silence)]) {
        for (at, (socket, silence)) in silent.iter().enumerate() {
            let mut line = Line::default();
            let state = match silence {
                Silence::Foreign => text!("is another user's"),
                _ => text!("does not answer"),
            };
            if self.is_json {
                line.text(if at == 0 { "],\"silent\":[" } else { "," });
                line.text("{\"role\":\"").raw(socket.role());
                line.text("\",\"pid\":").number(socket.pid);
                line.text(",\"state\":\"").say(state);
                print(line.text("\"}").bytes());
            } else {
                line.raw(socket.role()).text(" (PID ").number(socket.pid);
                print(line.text(") ").say(state).end_line());
            }
        }
        if self.is_json {
            print(if silent.is_empty() {
                b"],\"silent\":[]}\n"
            } else {
                b"]}\n"
            });
        }
    }
}
