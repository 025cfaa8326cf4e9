//! Why something cannot start.

use super::{Line, Sink, tell};
use crate::text::Text;
use core::net::SocketAddr;

/// What a failure is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// A path, an interface, an argument: as it was given. Empty: nothing in particular.
    Name(&'static [u8]),
    /// Where something was to listen.
    Socket(SocketAddr),
}

/// Why something cannot start: what failed, on what, and what to do about it. It is told where it is decided whether the process
/// ends or goes on without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fatal {
    /// What failed.
    pub what: Text,
    /// On what.
    pub about: About,
    /// Why, and what to do; may be empty.
    pub why: Text,
}

impl Fatal {
    /// Tells a person, in one line.
    pub fn tell(&self, sink: &mut dyn Sink) {
        let mut socket = Line::default();
        let about = match self.about {
            About::Name(name) => name,
            About::Socket(at) => socket.socket(at).bytes(),
        };
        tell(sink, self.what, about, self.why);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LISTENING, STOPPING, kept};
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_what_it_is_about() {
        let mut sink = kept::Sink::default();
        for about in [
            About::Name(b""),
            About::Name(b"/srv\n"),
            About::Socket(([127, 0, 0, 1], 80).into()),
        ] {
            let fatal = Fatal {
                what: LISTENING,
                about,
                why: STOPPING,
            };
            fatal.tell(&mut sink);
        }
        let expect = [
            "stowaway: listening on: stopping",
            "stowaway: listening on /srv\\x0a: stopping",
            "stowaway: listening on 127.0.0.1:80: stopping",
        ];
        assert_eq!(sink.lines(), expect);
    }
}
