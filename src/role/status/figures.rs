//! Prints the figures of the servers that run on this host and can be found.
//!
//! Each process of a server gives the figures of all. One is enough, but each is asked, so that one that hangs is seen.

use super::Options;
use crate::console::{FAILED, complain, print};
use crate::event::{Fatal, Line};
use crate::os::status::{self, Answer, SOCKET_COUNT_MAX, Silence, Socket, find};
use crate::stats::forms::Form;
use crate::sys;
use crate::text::{Text, text};
use crate::time::Duration;

/// The text of `--help` about figures.
pub(super) const HELP: Text = text!(include_str!("help.txt"));

/// Interval of `--watch`.
const INTERVAL: Duration = Duration::from_secs(2);

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
        let form = if self.is_json {
            Form::Json
        } else {
            Form::Plain
        };
        let mut count = 0;
        let is_complete = find(&mut |socket| {
            let is_known = known.contains(&socket.pid);
            let result = socket.ask(form as u8, answer);
            let is_wanted = self.pid.is_none_or(|pid| {
                let pids = answer.pids.iter().chain([&socket.pid]);
                is_known || pids.copied().any(|of| of == pid) || socket.parent() == pid
            });
            match result {
                _ if !is_wanted => {}
                Err(Silence::Ended) => {}
                Err(silence) => _ = silent.push((socket, silence)),
                Ok(()) if is_known => {}
                Ok(()) => {
                    for pid in &answer.pids {
                        let _ = known.push(*pid);
                    }
                    if self.is_json {
                        print(if count == 0 { b"{\"servers\":[" } else { b"," });
                    } else if count > 0 {
                        print(b"\n\n");
                    }
                    count += 1;
                    print(answer.text());
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
