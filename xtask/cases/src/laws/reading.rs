//! READ at every offset, READDIR and READDIRPLUS with every count, and calls that a read-only export refuses.

use super::*;
use crate::values::{How, Set};
use nfs3_types::nfs3::stable_how::{FILE_SYNC, UNSTABLE};
use nfsstat3::*;

pub(super) const CASES: &[Case] = &[
    ("READ ends at the end of the file", read),
    ("calls refuse objects of other types", other_types),
    ("a listing is complete at any count", list),
    ("READDIRPLUS returns what LOOKUP returns", list_as_looked_up),
    ("any cookie is answered", cookies),
];
pub(super) const CASES_OF_READ_ONLY: &[Case] = &[("every change is refused", change)];

fn read(peer: &mut Peer<'_>) -> Result<()> {
    for path in ["hello", "big"] {
        let file = peer.handle(path)?;
        let size = peer.attr(&file)?.size;
        let near = [
            0,
            1,
            3,
            size - 9,
            size - 1,
            size,
            size + 1,
            size.saturating_sub(70_001),
        ];
        let far = [
            1 << 32,
            0x7fff_ffff_ffff_f000,
            i64::MAX as u64,
            1 << 63,
            u64::MAX,
        ];
        for offset in near.into_iter().chain(far) {
            let least = [
                0, 1, 10, 11, 12, 4096, 65_535, 65_536, 65_537, 65_538, 65_539, 65_540,
            ];
            let most = [100_000, 1 << 20, (1 << 20) + 1, u32::MAX];
            for count in least.into_iter().chain(most) {
                let about = || format!("{count} bytes of {path} at {offset:#x}");
                let body = peer.expect(&Call::read(&file, offset, count), NFS3_OK);
                let body = body.with_context(about)?;
                let left = size.saturating_sub(offset);
                let len = left.min(count.into()).min(1 << 20);
                ensure!(
                    body.words == [len as u32, (len == left).into()],
                    "{}",
                    about()
                );
                let byte = |at| match path {
                    "big" => big_byte((offset + at) as usize),
                    _ => b"hello world"[(offset + at) as usize],
                };
                ensure!(body.bytes.into_iter().eq((0..len).map(byte)), "{}", about());
            }
        }
    }
    Ok(())
}

fn other_types(peer: &mut Peer<'_>) -> Result<()> {
    let [hello, dir, link, fifo] = ["hello", "dir", "link", "fifo"].map(|path| peer.handle(path));
    let (hello, dir, link, fifo) = (hello?, dir?, link?, fifo?);
    for (call, status) in [
        (Call::read_dir(&hello, 0, [0; 8], 512), NFS3ERR_NOTDIR),
        (
            Call::read_dir_plus(&hello, 0, [0; 8], 512, 512),
            NFS3ERR_NOTDIR,
        ),
        (
            Call::read_dir_plus(&link, 0, [0; 8], 512, 512),
            NFS3ERR_NOTDIR,
        ),
        (Call::read_link(&hello), NFS3ERR_INVAL),
        (Call::read_link(&dir), NFS3ERR_INVAL),
        (Call::read(&dir, 0, 10), NFS3ERR_ISDIR),
        (Call::read(&link, 0, 10), NFS3ERR_INVAL),
        (Call::read(&fifo, 0, u32::MAX), NFS3ERR_INVAL),
    ] {
        let body = peer.expect(&call, status)?;
        ensure!(
            body.attributes[0].is_some(),
            "{:?}: no attributes",
            call.procedure
        );
    }
    Ok(())
}

/// READDIR with `count`, or READDIRPLUS with `dircount` and `maxcount`.
fn page(dir: &[u8], cookie: u64, verifier: [u8; 8], counts: (u32, Option<u32>)) -> Call<'_> {
    match counts {
        (count, None) => Call::read_dir(dir, cookie, verifier, count),
        (names, Some(all)) => Call::read_dir_plus(dir, cookie, verifier, names, all),
    }
}

impl Peer<'_> {
    /// All entries of a directory, page by page: `count` of READDIR, or `dircount` and `maxcount` of READDIRPLUS. None if a page was
    /// too small for an entry.
    pub fn list(
        &mut self,
        dir: &[u8],
        counts: (u32, Option<u32>),
    ) -> Result<Option<Vec<crate::replies::DirEntry>>> {
        let (mut listed, mut cookie, mut verifier) = (Vec::new(), 0, [0; 8]);
        loop {
            let call = page(dir, cookie, verifier, counts);
            let message = self.message(&call);
            let reply = self.server.exchange(&message)?;
            let Outcome::Success(results) = outcome(&reply)?.1 else {
                bail!("{counts:?}: {:?}", outcome(&reply)?);
            };
            let mut body = body(call.procedure, results)?;
            ensure!(body.attributes[0].is_some(), "{counts:?}: no attributes");
            if body.status()? == NFS3ERR_TOOSMALL {
                return Ok(None);
            }
            ensure!(body.status()? == NFS3_OK, "{counts:?}: {:?}", body.status());
            let (len, limit) = (results.len() - 4, counts.1.unwrap_or(counts.0) as usize);
            ensure!(
                body.entries.is_empty() || len <= limit,
                "{len} bytes for {limit}"
            );
            let [high, low, end] = body.words[..] else {
                bail!("{counts:?}: {:?}", body.words);
            };
            verifier = (u64::from(high) << 32 | u64::from(low)).to_be_bytes();
            cookie = body.entries.last().map_or(cookie, |last| last.cookie);
            listed.append(&mut body.entries);
            if end == 1 {
                return Ok(Some(listed));
            }
        }
    }
}

fn list(peer: &mut Peer<'_>) -> Result<()> {
    let dir = peer.handle("many")?;
    let mut expect: Vec<_> = many().map(String::into_bytes).collect();
    expect.extend([b".".to_vec(), b"..".to_vec()]);
    expect.sort();
    for count in [
        0,
        1,
        100,
        512,
        1024,
        4096,
        8192,
        32_768,
        65_536,
        1 << 20,
        u32::MAX,
    ] {
        for counts in [(count, None), (count, Some(count)), (count, Some(600))] {
            let Some(listed) = peer.list(&dir, counts)? else {
                ensure!(
                    count <= 512 && counts.1 != Some(600),
                    "{counts:?}: TOOSMALL"
                );
                continue;
            };
            let mut names: Vec<_> = listed.into_iter().map(|entry| entry.name).collect();
            names.sort();
            ensure!(names == expect, "{counts:?}: {} names", names.len());
        }
    }
    Ok(())
}

fn list_as_looked_up(peer: &mut Peer<'_>) -> Result<()> {
    let top = peer.handle("")?;
    let entries = peer.list(&top, (4096, Some(4096)))?.context("TOOSMALL")?;
    ensure!(entries.len() > 8, "{entries:?}");
    for entry in entries {
        if matches!(&entry.name[..], b"." | b"..") {
            continue;
        }
        let found = peer.expect(&Call::lookup(&top, &entry.name), NFS3_OK)?;
        ensure!(
            entry.handle == Some(found.handle.clone()),
            "{entry:?}: {found:?}"
        );
        ensure!(
            entry.attributes == found.attributes[0],
            "{entry:?}: {found:?}"
        );
        ensure!(found.attr(0)?.fileid == entry.inode, "{entry:?}: {found:?}");
    }
    Ok(())
}

fn cookies(peer: &mut Peer<'_>) -> Result<()> {
    let top = peer.handle("")?;
    let least = [1, 2, 3, 1000, u32::MAX.into()];
    for cookie in least
        .into_iter()
        .chain([1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX])
    {
        for verifier in [[0; 8], [0xff; 8]] {
            for counts in [(4096, None), (4096, Some(4096))] {
                // Any status is valid, also NFS3_OK with entries; the results must be well-formed.
                let body = peer.ask(&page(&top, cookie, verifier, counts))?;
                ensure!(body.is_some(), "cookie {cookie:#x}: GARBAGE_ARGS");
            }
        }
    }
    Ok(())
}

fn change(peer: &mut Peer<'_>) -> Result<()> {
    let (top, file) = (peer.handle("")?, peer.handle("hello")?);
    let (dir, name, set) = (&top[..], &b"new"[..], Set::mode(0o777));
    let large = vec![b'w'; 1 << 20];
    for call in [
        Call::set_attr(&file, set, None),
        Call::set_attr(&file, Set::size(0), None),
        // This fails, too, as with the Linux kernel's server.
        Call::set_attr(&file, Set::default(), None),
        Call::write(&file, 0, FILE_SYNC, b""),
        Call::write(&file, 0, UNSTABLE, b"four"),
        Call::write(&file, u64::MAX, FILE_SYNC, &large[..65_536]),
        Call::write(&file, 0, FILE_SYNC, &large),
    ] {
        peer.change(&call, &[&file], NFS3ERR_ROFS)?;
    }
    for call in [
        Call::create(dir, name, How::Unchecked(set)),
        Call::create(dir, name, How::Guarded(set)),
        Call::create(dir, name, How::Exclusive([1; 8])),
        Call::create(dir, b"hello", How::Unchecked(Set::size(0))),
        Call::mkdir(dir, name, set),
        Call::symlink(dir, name, set, b"/etc/passwd"),
        Call::fifo(dir, name, set),
        Call::remove(dir, b"hello"),
        Call::rmdir(dir, b"empty"),
    ] {
        peer.change(&call, &[dir], NFS3ERR_ROFS)?;
    }
    peer.change(
        &Call::rename(dir, b"hello", dir, name),
        &[dir, dir],
        NFS3ERR_ROFS,
    )?;
    let linked = peer.change(&Call::link(&file, dir, name), &[dir], NFS3ERR_ROFS)?;
    ensure!(linked.attributes[0] == Some(peer.attributes(&file)?));
    // Bits of ACCESS: READ and LOOKUP are granted, MODIFY, EXTEND and DELETE are not.
    for (object, granted) in [(&top, 0x3), (&file, 0x1)] {
        let body = peer.expect(&Call::access(object, 0x1f), NFS3_OK)?;
        ensure!(body.words == [granted], "{body:?}");
    }
    Ok(())
}
