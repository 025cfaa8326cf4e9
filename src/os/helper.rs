//! A child process for work that may wait for a disk without end: it sends records to its parent by a pipe.
//!
//! The parent never waits for it: a process in an uninterruptible wait cannot be killed. It ends with its parent, or as soon as the
//! disk answers.

#![forbid(unsafe_code)]

use crate::mem::Ends as _;
use crate::sys::linux::fs::{self, File};
use crate::sys::linux::process;
use crate::sys::{self, Errno};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::AsRawFd as _;

/// Maximum length of a record with its length word (bytes). The kernel writes up to PIPE_BUF bytes atomically, so that the parent
/// reads whole records.
const PIPE_BUF: usize = 4096;

/// A function that accepts a record.
pub type Send<'s> = &'s mut dyn FnMut(&[u8]);

/// The parent's end of the pipe.
#[derive(Debug)]
pub struct Helper(File);

/// Result of [`Helper::receive`].
#[derive(Debug)]
pub enum Output<'r> {
    /// No record yet.
    Nothing,
    /// A record.
    Record(&'r [u8]),
    /// The child has ended, or will end at once.
    End,
}

impl Helper {
    /// Forks. The child calls `work` with a function that sends a record, and ends after it.
    ///
    /// # Errors
    /// Those of pipe(2) and fork(2).
    pub fn start(work: &mut dyn FnMut(Send<'_>)) -> Result<Self, Errno> {
        // Earlier children that have ended.
        while process::reap_any(false).is_some() {}
        let (from, to) = fs::pipe()?;
        if process::fork()?.is_none() {
            // A child that hangs must not hold the sockets, nor a pipe that another program reads to its end.
            process::close_all_but(&to);
            work(&mut |record| send(&to, record));
            sys::exit(0);
        }
        Ok(Self(from))
    }

    /// Receives the next record into `out`.
    pub fn receive<'o>(&self, out: &'o mut [u8]) -> Output<'o> {
        let (mut len, pipe) = ([0; 2], self.0.as_raw_fd());
        match fs::read(pipe, &mut len) {
            Ok(0) => Output::End,
            Ok(_) => {
                let record = out.head_mut(u16::from_ne_bytes(len).into());
                let len = fs::read(pipe, record).unwrap_or(0);
                Output::Record(record.head(len))
            }
            Err(Errno::AGAIN | Errno::INTR) => Output::Nothing,
            Err(_) => Output::End,
        }
    }
}

/// Sends a record; waits while the pipe is full. Ends the process if the parent has ended.
fn send(to: &File, record: &[u8]) {
    let mut buffer = [0; PIPE_BUF];
    let Some((head, body)) = buffer.split_first_chunk_mut::<2>() else {
        return;
    };
    *head = (record.len() as u16).to_ne_bytes();
    crate::mem::copy_into(body, record);
    let message = buffer.head(record.len() + 2);
    while let Err(errno) = fs::write(to.as_raw_fd(), message) {
        if !matches!(errno, Errno::AGAIN | Errno::INTR) {
            sys::exit(1);
        }
        let _ = sys::linux::sleep(&mut [PollFd::new(to, PollFlags::OUT)], None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::time::Instant;

    /// Returns the lengths of the records until the child has ended.
    fn lengths(helper: &Helper) -> Vec<usize> {
        let (mut lengths, mut out) = (Vec::new(), vec![0; PIPE_BUF]);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match helper.receive(&mut out) {
                Output::Nothing => {
                    assert!(Instant::now() < deadline, "{} records", lengths.len());
                    let _ = sys::linux::sleep(&mut [PollFd::new(&helper.0, PollFlags::IN)], None);
                }
                Output::Record(record) => {
                    assert!(record.iter().all(|byte| *byte == lengths.len() as u8));
                    lengths.push(record.len());
                }
                Output::End => return lengths,
            }
        }
    }

    #[test]
    fn records_larger_than_the_pipe_arrive_whole() {
        let expect: Vec<usize> = (0..4000).map(|number| number % 1000).collect();
        let helper = Helper::start(&mut |send| {
            for number in 0..4000 {
                send(&[number as u8; 1000][..number % 1000]);
            }
        });
        assert_eq!(lengths(&helper.unwrap()), expect);
    }

    #[test]
    fn child_holds_no_descriptors_of_its_parent() {
        let (from, to) = fs::pipe().unwrap();
        let helper = Helper::start(&mut |send| {
            send(&[0]);
            let _ = sys::linux::sleep(&mut [], None);
        });
        let helper = helper.unwrap();
        let _ = sys::linux::sleep(&mut [PollFd::new(&helper.0, PollFlags::IN)], None);
        drop(to);
        // A child of another test may hold the descriptor for the moment after its fork: wait for the end of file.
        let _ = sys::linux::sleep(
            &mut [PollFd::new(&from, PollFlags::IN)],
            Some(crate::time::Duration::from_secs(30)),
        );
        assert_eq!(fs::read(from.as_raw_fd(), &mut [0]), Ok(0));
    }
}
