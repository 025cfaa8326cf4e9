//! Clients of `check`, which ask whether a server works. Each says why it does not.

pub mod http;
pub mod mdns;
pub mod nfs;
pub mod sftp;

use super::client::CallError;
use crate::text::{Text, text};

/// Sets the reason if a call on a connection hit the deadline or there is no route.
fn note<T>(done: Result<T, CallError>, why: &mut Text) -> Option<T> {
    match done {
        Err(CallError::TimedOut) => {
            *why = text!("no answer within 3 s; check the server's disks, load and firewall");
        }
        Err(CallError::Unreachable) => {
            *why = text!("network unreachable: no route to the address; see -l");
        }
        _ => {}
    }
    done.ok()
}
