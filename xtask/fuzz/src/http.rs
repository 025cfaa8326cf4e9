//! The target `http`: requests on a connection, whole and in pieces. The replies must be the same, and decoded paths stay below "/".

use cases::http::{Object, ROWS, TREE, Validators, pattern};
use std::cell::RefCell;
use std::path::Path;
use stowaway::engine::http::testing::Bench;
use stowaway::vfs::ram::Ram;
use stowaway::wire::http::{Decoded, decode, parse_date, ranges, write_date};

thread_local! {
    /// The server. A request changes nothing in it.
    static WORLD: RefCell<Bench> = RefCell::new(Bench::of(files()));
}

fn files() -> Ram {
    let mut ram = Ram::model(b"/srv");
    for (path, object) in TREE {
        match object {
            Object::File(content) => ram.file(path, content),
            Object::Pattern(len) => ram.file(path, &(0..len).map(pattern).collect::<Vec<_>>()),
            Object::Directory => ram.dir(path),
            Object::Link(target) => ram.symlink(path, target.as_bytes()),
            Object::Fifo => ram.fifo(path),
        }
    }
    ram
}

/// Sends an input: the size of pieces, then requests.
pub fn send(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let piece = usize::from(*size) + 1;
    WORLD.with_borrow_mut(|bench| {
        let whole = bench.send(stream, usize::MAX);
        let pieces = bench.send(stream, piece);
        assert!(whole.output == pieces.output && whole.closed == pieces.closed);
        bench.log.lock().expect("no other thread has it").clear();
    });
    check_values(stream);
}

/// Checks the parsers of values with any bytes.
fn check_values(bytes: &[u8]) {
    if let Decoded::Path(path) = decode(bytes, &mut [0; 4096]) {
        assert!(path.starts_with(b"/") && !path.contains(&0));
        let mut names = path.split(|byte| *byte == b'/');
        assert!(!names.any(|name| matches!(name, b"." | b"..")));
    }
    if let Some(parts) = ranges(bytes, 1000) {
        let mut parts = parts.all().to_vec();
        parts.sort_unstable();
        assert!(parts.iter().all(|(from, to)| from < to && *to <= 1000));
        assert!(parts.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }
    if let Some(secs) = parse_date(bytes, 0) {
        let again = parse_date(&write_date(secs), 0);
        assert!(again == Some(secs) || secs < 0);
    }
}

/// Writes the requests of the table to the directory in [`super::SEEDS`].
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(super::SEEDS) else {
        return;
    };
    let known = Validators {
        tag: "\"0123456789abcdef\"".into(),
        date: "Sun, 09 Sep 2001 01:46:40 GMT".into(),
    };
    for (number, row) in ROWS.iter().enumerate() {
        let input = [&[7][..], &row.request(&known)].concat();
        let path = Path::new(&dir).join(number.to_string());
        std::fs::write(&path, input).expect("the directory in STOWAWAY_SEEDS is writable");
    }
}
