//! `check sftp`: sends INIT to an SFTP server that listens without SSH, and reads VERSION. draft-ietf-secsh-filexfer-02 section 4.

use super::note;
use crate::config::CHECK_CONNECT_WAIT;
use crate::mem::Ends as _;
use crate::os::client::{CallError, Client};
use crate::sys;
use crate::sys::address::ServerAddress;
use crate::text::{Text, text};
use crate::time::Instant;
use crate::wire::Reader;
use crate::wire::sftp::{VERSION, kind};

/// INIT: the length, the type and the version.
const INIT: [u8; 9] = [0, 0, 0, 5, kind::INIT, 0, 0, 0, VERSION as u8];
/// Longest VERSION with its extensions (bytes).
const VERSION_BYTES_MAX: usize = 2 << 10;

/// A check of an SFTP server.
pub struct Sftp {
    client: Result<Client, CallError>,
    is_sent: bool,
    /// True if a server accepted INIT and speaks SFTP or has not answered.
    pub is_served: bool,
    /// Reason that is reported if the check fails.
    pub why: Text,
}

impl Sftp {
    /// Connects and sends INIT, if the server accepts both at once.
    pub fn ask(at: &ServerAddress) -> Self {
        let until = sys::now().after(CHECK_CONNECT_WAIT);
        let mut sftp = Self {
            client: Client::connect(at, until),
            is_sent: false,
            is_served: false,
            why: text!("cannot connect; start the server, or see --sftp"),
        };
        sftp.send();
        sftp
    }

    fn send(&mut self) {
        if let Ok(client) = &mut self.client
            && !self.is_sent
        {
            match client.send(&INIT) {
                Ok(()) => self.is_sent = true,
                Err(CallError::TimedOut) => {}
                Err(error) => self.client = Err(error),
            }
        }
    }

    /// Waits for VERSION. `None`: the check failed, and `self.why` has the reason.
    pub fn answer(&mut self, until: Instant) -> Option<()> {
        if let Ok(client) = &mut self.client {
            client.set_deadline(until);
        }
        self.send();
        let client = match &mut self.client {
            Ok(client) => client,
            Err(error) => return note(Err(*error), &mut self.why),
        };
        let buffer = &mut [0; VERSION_BYTES_MAX];
        let head = buffer.head_mut(INIT.len());
        let received = client.recv_exact(head);
        self.is_served = self.is_sent && received == Err(CallError::TimedOut);
        if !self.is_served {
            self.why = text!("no SFTP server, or the connection was closed; see --sftp");
        }
        note(received, &mut self.why)?;
        let mut packet = Reader::new(head);
        let len = packet.u32() as usize;
        let is_version = packet.take(1) == [kind::VERSION] && packet.u32() == VERSION;
        let rest = buffer.get_mut(..len.checked_sub(INIT.len() - 4)?)?;
        is_version.then_some(())?;
        self.is_served = true;
        note(client.recv_exact(rest), &mut self.why)
    }
}
