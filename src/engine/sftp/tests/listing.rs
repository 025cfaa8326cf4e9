//! OPENDIR and READDIR.

use super::*;
use crate::config::NAMES_BYTES_MAX;
use crate::vfs::FsError;

fn read_dir(handle: &[u8]) -> Packet {
    Packet::new(kind::READDIR, 3).string(handle)
}

/// The names, long names and attributes of a page.
fn entries(page: &Reply) -> Vec<(String, String, Attributes)> {
    assert_eq!(page.kind, kind::NAME);
    let mut body = Reader::new(&page.body);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = (0..body.u32())
        .map(|_| {
            (
                text(body.string()),
                text(body.string()),
                Attributes::parse(&mut body),
            )
        })
        .collect();
    assert_eq!((body.check(), body.rest()), (Ok(()), &[][..]));
    all
}

impl World {
    /// All pages of a directory.
    fn pages(&mut self, path: &[u8]) -> Vec<Reply> {
        let handle = self.open_handle(about(kind::OPENDIR, path));
        let mut pages = Vec::new();
        loop {
            let page = self.ask(read_dir(&handle));
            if page.kind == kind::STATUS {
                self.expect_status(read_dir(&handle), Eof);
                self.expect_ok(close(&handle));
                return pages;
            }
            pages.push(page);
        }
    }
}

#[test]
fn small_directory_is_one_page_of_ls_lines() {
    let mut world = World::connected();
    world.tree.ram().dir("etc");
    world.tree.ram().file("etc/passwd", b"me:x:1000:100::/:\n");
    let pages = world.pages(b"dir");
    assert_eq!(pages.len(), 1);
    let lines: Vec<_> = entries(&pages[0])
        .into_iter()
        .map(|(name, line, attr)| {
            assert!(line.ends_with(&format!(" {name}")));
            (line, attr.mode)
        })
        .collect();
    // Directories of the model have a link count of 1, whatever they contain.
    assert_eq!(
        lines,
        [
            (
                "drwxr-xr-x    1 me       100          4096 Sep  9 01:46 .".into(),
                Some(0o040_755)
            ),
            (
                "drwxr-xr-x    1 me       100          4096 Sep  9 01:46 ..".into(),
                Some(0o040_755)
            ),
            (
                "-rw-r--r--    1 me       100             5 Sep  9 01:46 inner".into(),
                Some(0o100_644)
            ),
        ]
    );
}

#[test]
fn large_directory_is_listed_in_small_pages() {
    let mut world = World::connected();
    world.tree.ram().dir("huge");
    let names: Vec<_> = (0..2000)
        .map(|number| format!("{number:04}{}", "h".repeat(number * 7 % 250)))
        .collect();
    for name in &names {
        world.tree.ram().file(&format!("huge/{name}"), b"");
    }
    let pages = world.pages(b"huge");
    assert!(pages.len() > 20);
    let listed: Vec<_> = pages
        .iter()
        .flat_map(|page| {
            assert!(page.body.len() + 9 <= NAMES_BYTES_MAX);
            entries(page).into_iter().map(|(name, ..)| name)
        })
        .collect();
    assert_eq!(listed[..2], [".", ".."]);
    assert_eq!(listed[2..], names);
    for page in &pages[..pages.len() - 1] {
        assert!(page.body.len() > NAMES_BYTES_MAX - 1200, "space was wasted");
    }
}

#[test]
fn pipelined_readdir_returns_successive_pages() {
    let mut world = World::connected();
    let expect: Vec<_> = world.pages(b"many").iter().flat_map(entries).collect();
    let handle = world.open_handle(about(kind::OPENDIR, b"many"));
    let packets = vec![read_dir(&handle); 9];
    let talk = world.talk(&stream(&packets), || usize::MAX);
    let (pages, ends): (Vec<_>, Vec<_>) = talk
        .replies()
        .into_iter()
        .partition(|reply| reply.kind == kind::NAME);
    assert_eq!(pages.iter().flat_map(entries).collect::<Vec<_>>(), expect);
    assert_eq!(pages.len() + ends.len(), 9);
    assert!(ends.iter().all(|end| end.body[..4] == [0, 0, 0, 1]));
}

#[test]
fn readdir_of_removed_directory_fails() {
    let mut world = World::connected();
    let handle = world.open_handle(about(kind::OPENDIR, b"empty"));
    world.expect_ok(about(kind::RMDIR, b"empty"));
    // Eof instead of an error would make the directory look empty.
    world.expect_status(read_dir(&handle), Failure);
    world.expect_ok(close(&handle));
    world.hang_up();
}

#[test]
fn disk_error_during_readdir_is_reported() {
    let mut world = World::connected();
    let handle = world.open_handle(about(kind::OPENDIR, b"dir"));
    world.tree.host.io_error.set(Some(FsError::Io));
    world.expect_status(read_dir(&handle), Failure);
    world.tree.host.io_error.set(None);
    assert_eq!(entries(&world.ask(read_dir(&handle))).len(), 3);
}
