//! The items of a menu of many images: those in a folder, or whose names begin with the same letters, have a menu of their own.
//!
//! Items and commands are in the order of the entries, whose numbers begin with 1.

use crate::event::Line;
use crate::mem::{self, Ends as _};
use crate::vfs::is_image;
use crate::wire::Writer;
use crate::wire::label::cut;

/// Number of images from which on they are grouped.
const IMAGE_COUNT_MIN: u32 = 20;

/// Consecutive entries of one group.
struct Run<'a> {
    /// The folder, or the letters; empty: one image that is in no group.
    key: &'a [u8],
    /// Number of the first entry.
    first: u32,
    image_count: u32,
    items: &'a [u8],
}

impl Run<'_> {
    const fn is_group(&self) -> bool {
        self.image_count > 1 && !self.key.is_empty()
    }
}

/// The paths by HTTP that the entries load first.
pub(super) fn paths(commands: &[u8]) -> impl Iterator<Item = &[u8]> {
    const HTTP: &[u8] = b"${http}";
    let mut is_new = false;
    mem::parts(commands, b'\n').filter_map(move |line| {
        is_new |= line.starts_with(b":");
        let at = line.windows(HTTP.len()).position(|part| part == HTTP);
        let at = at.filter(|_| is_new)?;
        is_new = false;
        Some(cut(line.tail(at + HTTP.len()), b' ').0)
    })
}

/// The group of the image in a path below an export, and the path of the image.
fn group_of(path: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    for name in path.split(|byte| *byte == b'/') {
        let image = path.head(start + name.len());
        if is_image(name) {
            let folder = path.head(start).trim_ascii_end();
            let folder = folder.strip_suffix(b"/").unwrap_or_default();
            let letters = name.iter().take_while(|byte| byte.is_ascii_alphabetic());
            return match folder {
                [] => (name.head(letters.count()), image),
                folder => (folder, image),
            };
        }
        start = image.len() + 1;
    }
    (b"", path)
}

/// Passes the runs of the entries to `each`. `below` returns the part of a path below its export.
fn each_run<'a>(
    items: &'a [u8],
    commands: &'a [u8],
    below: &dyn Fn(&'a [u8]) -> &'a [u8],
    each: &mut dyn FnMut(&Run<'a>),
) {
    let (mut rest, mut last) = (items, &b""[..]);
    let mut run = Run {
        key: b"",
        first: 1,
        image_count: 0,
        items: b"",
    };
    let mut run_items = items;
    for (number, path) in (1..).zip(paths(commands)) {
        let (key, image) = group_of(below(path));
        if image != last {
            if number > 1 && (key.is_empty() || key != run.key) {
                run.items = run_items.head(run_items.len() - rest.len());
                each(&run);
                (run.first, run.image_count, run_items) = (number, 0, rest);
            }
            (run.key, last) = (key, image);
            run.image_count += 1;
        }
        let end = rest.iter().position(|byte| *byte == b'\n');
        rest = rest.tail(end.map_or(rest.len(), |end| end + 1));
    }
    run.items = run_items;
    each(&run);
}

/// Appends the title and the number of images of a group.
fn put_title(run: &Run<'_>, out: &mut Writer<'_>) {
    let mut count = Line::default();
    count.text(" (").number(run.image_count).text(")\n");
    out.put(run.key);
    out.put(count.bytes());
}

/// Writes the items of the first menu, then `choose`, then the menus of the groups. `chosen` is the number of the entry that also is in the first
/// menu; 0: none.
pub(super) fn write<'a>(
    (items, commands): (&'a [u8], &'a [u8]),
    below: &dyn Fn(&'a [u8]) -> &'a [u8],
    (chosen, choose): (u32, &[u8]),
    out: &mut Writer<'_>,
) {
    let mut image_count = 0;
    each_run(items, commands, below, &mut |run| {
        image_count += run.image_count
    });
    if image_count < IMAGE_COUNT_MIN {
        out.put(items);
        out.put(choose);
        return;
    }
    let label = |run: &Run<'_>| {
        let mut label = Line::default();
        label.byte(b'g').number(run.first);
        label
    };
    each_run(items, commands, below, &mut |run| {
        if !run.is_group() {
            out.put(run.items);
            return;
        }
        let lines = run.items.split_inclusive(|byte| *byte == b'\n');
        for (number, item) in (run.first..).zip(lines) {
            if number == chosen {
                out.put(item);
            }
        }
        out.put(b"item ");
        out.put(label(run).bytes());
        out.put(b" ");
        put_title(run, out);
    });
    out.put(choose);
    each_run(items, commands, below, &mut |run| {
        if run.is_group() {
            out.put(b":");
            out.put(label(run).bytes());
            out.put(b"\nmenu ");
            put_title(run, out);
            out.put(b"item menu Back\n");
            out.put(run.items);
            out.put(b"choose image || goto menu\ngoto ${image}\n");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write as _;

    /// The menus of these images below /srv, each with one entry.
    fn menus(images: &[String], chosen: u32) -> String {
        let (mut items, mut commands) = (String::new(), String::new());
        for (number, image) in (1..).zip(images) {
            writeln!(items, "item {number} {image}").unwrap();
            writeln!(
                commands,
                ":{number}\nkernel ${{http}}/srv/{image}/vmlinuz a=${{http}}/x\nboot"
            )
            .unwrap();
        }
        let mut buffer = vec![0; 10_000];
        let mut out = Writer::new(&mut buffer);
        let below = |path: &'static [u8]| path.strip_prefix(b"/srv/").unwrap();
        let [items, commands]: [&'static str; 2] = [items.leak(), commands.leak()];
        write(
            (items.as_bytes(), commands.as_bytes()),
            &below,
            (chosen, b"CHOOSE\n"),
            &mut out,
        );
        let len = out.written().unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    #[test]
    fn twenty_images_are_grouped_by_folder_or_letters() {
        let mut images: Vec<String> = Vec::new();
        for (start, count) in [("2024-", 2), ("debian-", 3), ("old/x/", 4), ("ubuntu", 10)] {
            images.extend((0..count).map(|number| format!("{start}{number}.iso")));
        }
        let flat = menus(&images, 0);
        assert!(
            flat.starts_with("item 1 2024-0.iso\n")
                && flat.ends_with("item 19 ubuntu9.iso\nCHOOSE\n"),
            "{flat}"
        );
        images.push("zen.iso".to_owned());
        let grouped = menus(&images, 5);
        let expect = "item 1 2024-0.iso\nitem 2 2024-1.iso\nitem 5 debian-2.iso\nitem g3 debian (3)\nitem g6 old/x (4)\nitem g10 ubuntu (10)\nitem 20 zen.iso\nCHOOSE\n:g3\nmenu debian (3)\nitem menu Back\nitem 3 debian-0.iso\nitem 4 debian-1.iso\nitem 5 debian-2.iso\nchoose image || goto menu\ngoto ${image}\n:g6\n";
        assert!(grouped.starts_with(expect), "{grouped}");
    }
}
