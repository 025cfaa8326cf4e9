//! `check http`: asks an HTTP server for its state, and reads the word of a fault.

use super::note;
use crate::mem::{Ends as _, parts};
use crate::os::client::Client;
use crate::sys::address::ServerAddress;
use crate::text::{Text, text};
use crate::time::Instant;
use core::net::SocketAddrV6;

const REQUEST: &[u8] = b"GET /healthz HTTP/1.0\r\n\r\n";
/// Longest reply that is read (bytes).
const REPLY_BYTES_MAX: usize = 512;

/// Asks the server at `at`.
///
/// # Errors
/// The reason why it does not work.
pub fn ask(at: SocketAddrV6, until: Instant) -> Result<(), Text> {
    let mut why = text!("cannot connect; start the server, or see --http");
    let client = note(Client::connect(&ServerAddress::Host(at), until), &mut why);
    let mut client = client.ok_or(why)?;
    note(client.send(REQUEST), &mut why).ok_or(why)?;
    why = text!("no HTTP server, or the connection was closed; see --http");
    let reply = &mut [0; REPLY_BYTES_MAX];
    let status = reply.head_mut(STATUS_BYTES);
    note(client.recv_exact(status), &mut why).ok_or(why)?;
    match status.strip_prefix(b"HTTP/1.1 ") {
        Some(b"200") => return Ok(()),
        Some(b"503") => {}
        _ => return Err(why),
    }
    let mut len = STATUS_BYTES;
    for byte in reply.tail_mut(STATUS_BYTES).chunks_mut(1) {
        if client.recv_exact(byte).is_err() {
            break;
        }
        len += 1;
    }
    let lines = parts(reply.head(len), b'\n').filter(|line| !line.is_empty());
    Err(match lines.last() {
        Some(b"export") => text!("an export is missing; see the server's log"),
        Some(b"disk") => text!("a disk does not answer"),
        _ => text!("a process of the server hangs or has ended; see the server's log"),
    })
}

/// Length of the start of a status line with the status (bytes).
const STATUS_BYTES: usize = 12;
