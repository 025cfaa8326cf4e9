//! Handles, names, attributes and contents.

use super::status::*;
use super::*;

const ROOT: u32 = op::PUTROOTFH;

pub(super) const CASES: &[Case] = &[
    (
        "LKPP1d to LKPP3, PUTFH1r to PUTFH2, SEC1, SECNN1 to SECNN4: statuses",
        statuses,
    ),
    ("PUTFH1, LKPP1d: handles lead to their objects", handles),
    ("VF1r: VERIFY and NVERIFY compare each attribute", compare),
    ("a listing has each name once", list),
    ("READ ends at the end of the file", contents),
    (
        "a READ above 64 KiB is whole at the end of a COMPOUND",
        large_reads,
    ),
    ("the root is above the exports", root),
];

/// The statuses of the last operation of COMPOUNDs that begin at an object below the top.
fn statuses(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    let word = |number| vec![vec![number]];
    let one = |operation: Op| vec![operation];
    let long = "x".repeat(256);
    for (path, then, status) in [
        ("", vec![], OK),
        ("dir/inner", vec![], OK),
        ("none", vec![], NOENT),
        (".", vec![], BADNAME),
        ("..", vec![], BADNAME),
        (&long, vec![], NAMETOOLONG),
        ("hello/x", vec![], NOTDIR),
        ("fifo/x", vec![], NOTDIR),
        ("link/x", vec![], SYMLINK),
        ("", one(lookup("")), INVAL),
        ("", one(lookup("a/b")), BADCHAR),
        ("", word(op::LOOKUPP), OK),
        ("dir", word(op::LOOKUPP), OK),
        ("hello", word(op::LOOKUPP), NOTDIR),
        ("fifo", word(op::LOOKUPP), NOTDIR),
        ("link", word(op::LOOKUPP), SYMLINK),
        ("", one(with(op::PUTFH, &opaque(b"no handle"))), BADHANDLE),
        ("", one(with(op::PUTFH, &opaque(&[1; 100]))), BADHANDLE),
        ("", one(with(op::PUTFH, &[200])), BADXDR),
        ("", one(getattr(&[1, 90])), OK),
        ("", one(getattr(&[48])), INVAL),
        ("", one(with(op::ACCESS, &[0x3f])), OK),
        ("link", word(op::READLINK), OK),
        ("hello", word(op::READLINK), INVAL),
        ("dir", word(op::READLINK), INVAL),
        ("hello", one(read(0, 0, 100)), OK),
        ("hello", one(read(u32::MAX, 0, 100)), OK),
        ("hello", one(read(1, 0, 100)), BAD_STATEID),
        ("dir", one(read(0, 0, 100)), ISDIR),
        ("link", one(read(0, 0, 100)), SYMLINK),
        ("fifo", one(read(0, 0, 100)), WRONG_TYPE),
        ("hello", one(readdir(0, 1000, &[])), NOTDIR),
        ("", one(readdir(0, 4000, &[1])), OK),
        ("", one(readdir(0, 20, &[1])), TOOSMALL),
        ("", one(readdir(2, 1000, &[1])), BAD_COOKIE),
        ("", one(readdir(0, 1000, &[54])), INVAL),
        ("", one(with(op::SECINFO, &opaque(b"hello"))), OK),
        ("", one(with(op::SECINFO, &opaque(b"none"))), NOENT),
        (
            "",
            vec![with(op::SECINFO, &opaque(b"hello")), vec![op::GETFH]],
            NOFILEHANDLE,
        ),
        ("", one(with(op::SECINFO_NO_NAME, &[0])), OK),
        ("", one(with(op::SECINFO_NO_NAME, &[1])), OK),
        ("", one(with(op::SECINFO_NO_NAME, &[2])), BADXDR),
        (
            "",
            vec![with(op::SECINFO_NO_NAME, &[0]), vec![op::GETFH]],
            NOFILEHANDLE,
        ),
        ("", word(op::CLOSE), BADXDR),
        ("", word(op::OPEN), BADXDR),
        ("", word(op::SETATTR), BADXDR),
    ] {
        let ops = peer.way(path, &then);
        status_is(peer, &ops, status)?;
    }
    for (ops, status) in [
        (vec![], OK),
        (vec![vec![ROOT]], OK),
        (vec![vec![op::PUTPUBFH], vec![op::GETFH]], OK),
        (vec![vec![ROOT], vec![op::LOOKUPP]], NOENT),
        (vec![vec![ROOT], lookup("no such export")], NOENT),
        (vec![vec![ROOT], readdir(0, 1000, &[1, 19])], OK),
        (vec![vec![ROOT], with(op::SECINFO_NO_NAME, &[1])], NOENT),
        (vec![lookup("hello")], NOFILEHANDLE),
        (vec![vec![op::LOOKUPP]], NOFILEHANDLE),
        (vec![vec![op::GETFH]], NOFILEHANDLE),
        (vec![vec![op::SAVEFH]], NOFILEHANDLE),
        (vec![vec![op::RESTOREFH]], NOFILEHANDLE),
        (vec![vec![op::CLOSE]], NOFILEHANDLE),
        (vec![with(op::TEST_STATEID, &[1, 0, 0, 0, 0])], OK),
        (vec![vec![ROOT]; 16], TOO_MANY_OPS),
    ] {
        status_is(peer, &ops, status)?;
    }
    Ok(())
}

/// Fails unless the COMPOUND after SEQUENCE ends with this status.
fn status_is(peer: &mut Peer<'_>, ops: &[Op], status: u32) -> Result<()> {
    let results = peer.next(ops)?;
    ensure!(
        results.status == status,
        "{results:?} for {ops:?}, not {status}"
    );
    Ok(())
}

/// The words of the last result.
fn last(peer: &mut Peer<'_>, ops: &[Op]) -> Result<Vec<u32>> {
    let results = peer.next(ops)?;
    ensure!(results.status == OK, "{results:?} for {ops:?}");
    Ok(results.last)
}

fn handles(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    for path in ["", "hello", "dir", "dir/inner", "link", "fifo"] {
        let way = peer.way(path, &[vec![op::GETFH]]);
        let handle = last(peer, &way)?;
        let put = with(op::PUTFH, &handle);
        ensure!(
            last(peer, &[put.clone(), vec![op::GETFH]])? == handle,
            "{path}"
        );
        let moved = [
            put.clone(),
            vec![op::SAVEFH],
            vec![ROOT],
            vec![op::RESTOREFH],
            vec![op::GETFH],
        ];
        ensure!(last(peer, &moved)? == handle, "{path}, saved");
        let way = peer.way(path, &[getattr(&[19, 20])]);
        ensure!(
            last(peer, &way)? == last(peer, &[put, getattr(&[19, 20])])?,
            "{path}"
        );
    }
    let way = peer.way("", &[vec![op::GETFH]]);
    let top = last(peer, &way)?;
    let way = peer.way("dir", &[vec![op::LOOKUPP], vec![op::GETFH]]);
    ensure!(last(peer, &way)? == top, "LOOKUPP");
    Ok(())
}

fn compare(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    let supported = last(peer, &[vec![ROOT], getattr(&[0])])?;
    // Two words of the mask, the length of the values, and three words of the value.
    let has = |number: u32| supported[4 + number as usize / 32] >> (number % 32) & 1 != 0;
    let numbers = (0..76).filter(|number| has(*number) && ![11, 48, 54].contains(number));
    for number in numbers.collect::<Vec<_>>() {
        let way = peer.way("hello", &[getattr(&[number])]);
        let mut value = last(peer, &way)?;
        for (verify, nverify) in [(OK, 10_009), (NOT_SAME, OK)] {
            for (operation, status) in [(op::VERIFY, verify), (op::NVERIFY, nverify)] {
                let way = peer.way("hello", &[with(operation, &value)]);
                // The time of the last access, and free space, may change meanwhile.
                if ![21, 22, 42, 43, 47].contains(&number) {
                    status_is(peer, &way, status)?;
                }
            }
            *value.last_mut().context("no value")? ^= 1 << 24;
        }
    }
    Ok(())
}

fn list(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    let expect: Vec<String> = super::super::laws::many().collect();
    for (bytes_max, numbers) in [
        (400, &[11, 20, 55][..]),
        (1500, &[1, 3, 8, 19, 20]),
        (60_000, &[]),
    ] {
        let (mut cookie, mut names) = (0, Vec::new());
        loop {
            let way = peer.way("many", &[readdir(cookie, bytes_max, numbers)]);
            let words = last(peer, &way)?;
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            ensure!(
                bytes.len() <= bytes_max as usize,
                "a page of {} bytes",
                bytes.len()
            );
            let mut reader = Reader(&bytes);
            reader.words(2)?;
            while reader.flag()? {
                cookie = u64::from(reader.word()?) << 32 | u64::from(reader.word()?);
                names.push(String::from_utf8(reader.opaque()?.to_vec())?);
                reader.attributes()?;
            }
            if reader.flag()? {
                break;
            }
        }
        names.sort_unstable();
        let mut sorted = expect.clone();
        sorted.sort_unstable();
        ensure!(names == sorted, "{names:?}");
    }
    Ok(())
}

fn contents(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    for (offset, count, expect, is_end) in [
        (0, 100, &b"hello world"[..], 1),
        (0, 11, b"hello world", 1),
        (0, 10, b"hello worl", 0),
        (6, 3, b"wor", 0),
        (11, 1, b"", 1),
        (5000, 1, b"", 1),
        (3, 0, b"", 0),
    ] {
        let way = peer.way("hello", &[read(0, offset, count)]);
        let words = last(peer, &way)?;
        let read = [&[is_end], &opaque(expect)[..]].concat();
        ensure!(words == read, "{count} bytes at {offset}: {words:x?}");
    }
    Ok(())
}

fn large_reads(peer: &mut Peer<'_>) -> Result<()> {
    let client = peer.client("owner", 1)?;
    let (mut fore, mut small) = (FORE, FORE);
    (fore[2], small[2]) = (2 << 20, 100_000);
    ensure!(peer.begin(client, 1, &fore)?[8] >= (1 << 20) + 200);
    let way = peer.way("big", &[getattr(&[4, 30])]);
    let [_, _, _, _, size, _, most] = last(peer, &way)?[..] else {
        anyhow::bail!("not two attributes");
    };
    ensure!(most == 1 << 20, "maxread: {most}");
    let whole = size.min(1 << 20);
    let all = read(0, 0, 2 << 20);
    for (then, reads) in [
        (vec![all.clone()], vec![(whole, whole == size)]),
        (vec![all.clone(), getattr(&[4])], vec![(65_536, false)]),
        (
            vec![read(0, 0, 4), read(0, size - 70_001, 1 << 20)],
            vec![(4, false), (70_001, true)],
        ),
        (vec![read(0, 1, 65_536)], vec![(65_536, false)]),
        (vec![read(0, 1, 65_537)], vec![(65_537, false)]),
    ] {
        let way = peer.way("big", &then);
        let results = peer.next(&way)?;
        ensure!(results.reads == reads, "{:?} for {then:?}", results.reads);
        if results.done.last() == Some(&(op::READ, 0)) {
            let (len, offset) = (reads[reads.len() - 1].0, then[then.len() - 1][6]);
            let bytes: Vec<u8> = (0..len as usize)
                .map(|at| super::super::laws::big_byte(offset as usize + at))
                .collect();
            ensure!(results.last[1..] == opaque(&bytes), "the data of {then:?}");
        }
    }
    // A reply that is to be kept, or that the session forbids, is refused; the file is released.
    let way = peer.way("big", std::slice::from_ref(&all));
    ensure!(peer.next_kept(1, &way)?.status == REP_TOO_BIG_TO_CACHE);
    peer.begin(client, 2, &small)?;
    ensure!(peer.next(&way)?.status == REP_TOO_BIG);
    let way = peer.way("big", &[read(0, 0, 70_000)]);
    ensure!(peer.next(&way)?.reads == [(70_000, false)]);
    Ok(())
}

/// The way to the exports: fileids, file systems, and the parents.
fn root(peer: &mut Peer<'_>) -> Result<()> {
    peer.begun()?;
    let facts = |peer: &mut Peer<'_>, ops: &[Op]| -> Result<Vec<u32>> {
        // After two words of the mask, its count and the length.
        Ok(last(peer, &[ops, &[getattr(&[8, 20, 55])]].concat())?[4..].to_vec())
    };
    let root = facts(peer, &[vec![ROOT]])?;
    let way = peer.way("", &[]);
    let top = facts(peer, &way)?;
    let way = peer.way("dir", &[]);
    let dir = facts(peer, &way)?;
    ensure!(root[..4] != top[..4], "the root has the fsid of the export");
    ensure!(top[..4] == dir[..4], "two file systems in one export");
    for object in [&root, &top, &dir] {
        ensure!(
            object[4..6] != [0, 0] && object[6..8] != [0, 0],
            "a fileid of 0"
        );
    }
    let depth = peer.top.len() - 1;
    let way = peer.way("dir", &vec![vec![op::LOOKUPP]; depth + 1]);
    ensure!(facts(peer, &way)? == root, "{depth} times up");
    Ok(())
}
