//! Tests of the worker threads, with files of the host.

use super::*;
use crate::sys;
use std::fs as files;
use std::os::fd::IntoRawFd as _;

fn file(name: &str) -> (RawFd, std::path::PathBuf) {
    let path = std::env::temp_dir().join(format!("stowaway-{name}-{}", std::process::id()));
    files::write(&path, b"data").unwrap();
    (files::File::open(&path).unwrap().into_raw_fd(), path)
}

/// Waits until all jobs have ended; returns the popped ones, sorted by number.
fn ends(workers: &mut Workers<u32>) -> Vec<(u32, u32, Result<(), Errno>)> {
    let mut ends = Vec::new();
    while !workers.jobs.is_empty() {
        workers.wait();
        workers.drain();
        workers.collect(sys::now());
        while let Some(end) = workers.pop_ended() {
            ends.push((end.number, end.tag, end.outcome.result));
        }
    }
    ends.sort_unstable_by_key(|end| end.0);
    ends
}

#[test]
fn every_kind_of_job_reports_its_result() {
    let mut workers = Workers::new().unwrap();
    let (own, path) = file("jobs");
    let open = |()| files::File::open(&path).unwrap().into_raw_fd();
    let read = Work::Read {
        offset: 1,
        len: 1 << 20,
    };
    let kinds = [Work::Sync, Work::SyncSystem, read, Work::Close];
    for (tag, work) in (0..).zip(kinds) {
        assert!(workers.push(work, open(()), tag, sys::now()));
    }
    // A job on a descriptor that is not open must end with EBADF.
    assert!(workers.push(Work::Sync, -1, 9, sys::now()));
    assert_eq!((workers.next(), workers.last_sync()), (5, Some(4)));
    let ends = ends(&mut workers);
    assert_eq!(workers.last_sync(), None);
    let results = [Ok(()), Ok(()), Ok(()), Ok(()), Err(Errno::BADF)];
    for (at, (number, tag, result)) in ends.into_iter().enumerate() {
        assert_eq!((number as usize, result), (at, results[at]));
        assert_eq!(tag, if at == 4 { 9 } else { at as u32 });
    }
    fs::close(own);
    files::remove_file(path).unwrap();
}

#[test]
fn syncs_pop_in_order_and_reads_at_once() {
    let mut workers = Workers::<u32>::new().unwrap();
    let outcome = Completion {
        result: Ok(()),
        stored: 0,
        took: Duration::default(),
    };
    let read = Work::Read { offset: 0, len: 1 };
    for (number, work) in (0..).zip([Work::Sync, Work::SyncSystem, read, Work::Sync]) {
        let job = Queued {
            number,
            work,
            file: -1,
            tag: 0,
            phase: Progress::Ended(outcome),
        };
        workers.jobs.push(job).unwrap();
    }
    workers.jobs[0].phase = Progress::Waits;
    let pop = |workers: &mut Workers<u32>| workers.pop_ended().map(|ended| ended.number);
    assert_eq!(pop(&mut workers), Some(2));
    assert_eq!(pop(&mut workers), None);
    assert_eq!(workers.last_sync(), Some(3));
    workers.jobs[0].phase = Progress::Ended(outcome);
    let rest = core::iter::from_fn(|| pop(&mut workers)).collect::<Vec<_>>();
    assert_eq!(rest, [0, 1, 3]);
}

#[test]
fn jobs_beyond_the_table_are_refused() {
    let mut workers = Workers::new().unwrap();
    let own = files::File::open("/proc/self/stat").unwrap().into_raw_fd();
    let (mut taken, mut refused) = (0, 0);
    while taken < 5000 {
        let duplicate = fs::dup::<Errno>(own).unwrap();
        if workers.push(Work::Sync, duplicate, taken, sys::now()) {
            taken += 1;
        } else {
            fs::close(duplicate);
            refused += 1;
            workers.wait();
            workers.drain();
            workers.collect(sys::now());
            while workers.pop_ended().is_some() {}
        }
    }
    ends(&mut workers);
    assert_eq!(workers.next(), taken);
    assert!(refused > 0, "the table was never full");
    fs::close(own);
}
