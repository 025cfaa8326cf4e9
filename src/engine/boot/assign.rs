//! The file `assign` beside images: lines `MAC IMAGE [ARGUMENTS]`, of which the first whose MAC address fits names the image that a
//! machine boots.
//!
//! The file is read from its start when a machine asks for its script: a change counts at once, and nothing of it is kept in memory.
//! A refused line may have been for any machine, so wildcards after it do not count: the machine gets the menu.

use crate::config::{ASSIGN_BYTES_MAX, ASSIGN_LINE_BYTES};
use crate::event::{Events, Line};
use crate::mem::{Ends as _, FNV_START, fnv1a, has_any};
use crate::text::{Text, text};
use crate::vfs::walk::find_for;
use crate::vfs::{
    Access, Export, FsError, FsResult, Node, ObjectType, Peer, Pin, Rules, Tree, is_image,
};
use crate::wire::wildcard::is_match;
use core::ops::ControlFlow;

/// The name of the file.
const NAME: &[u8] = b"/assign";
/// The image that stands for the machine's next boot device.
pub(super) const LOCAL: &[u8] = b"local";
/// Refused lines that are reported, at most.
const REPORT_COUNT_MAX: u32 = 10;
/// The forms of a MAC address.
const FORMS: [&[u8]; 2] = [b"??:??:??:??:??:??", b"??-??-??-??-??-??"];

/// A MAC address as text, with ":".
pub(super) type Mac = [u8; 17];

/// A line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row<'a> {
    /// A MAC address, which may have wildcards.
    mac: &'a [u8],
    /// The name or path of an image.
    pub(super) image: &'a [u8],
    /// Arguments that are appended to those of the kernel.
    pub(super) arguments: &'a [u8],
}

/// The column of a fault, and the advice.
type Fault = (usize, Text);
/// Receives the number of each line that has an image, and the line.
type Each<'a> = &'a mut dyn FnMut(u32, Result<Row<'_>, Fault>) -> ControlFlow<()>;

impl Row<'_> {
    fn has_wildcard(&self) -> bool {
        has_any(self.mac, b"*?[")
    }

    fn fits(&self, mac: &Mac) -> bool {
        is_match(self.mac, mac) || is_match(self.mac, &mac.map(|byte| swapped(byte, b':', b'-')))
    }
}

const fn swapped(byte: u8, from: u8, to: u8) -> u8 {
    if byte == from { to } else { byte }
}

/// Parses a MAC address, with ":" or "-".
pub(super) fn mac(text: &[u8]) -> Option<Mac> {
    let is_digits = |part: &[u8]| part.iter().take(2).all(u8::is_ascii_hexdigit);
    let is_mac = FORMS.iter().any(|form| is_match(form, text)) && text.chunks(3).all(is_digits);
    let mac: &Mac = text.try_into().ok().filter(|_| is_mac)?;
    Some(mac.map(|byte| swapped(byte, b'-', b':')))
}

/// Parses a line. `None`: there is nothing in it.
fn parse(line: &[u8]) -> Result<Option<Row<'_>>, Fault> {
    const IMAGE: Text = text!("write the name of an image, such as debian.iso, or local");
    let mut before = b' ';
    let comment = line.iter().position(|byte| {
        let starts_word = before.is_ascii_whitespace();
        before = *byte;
        starts_word && *byte == b'#'
    });
    let line = line.head(comment.unwrap_or(line.len())).trim_ascii_end();
    let mut rest = line.trim_ascii_start();
    let mut column = 1 + line.len() - rest.len();
    if rest.is_empty() {
        return Ok(None);
    }
    let mut word = || {
        let end = rest.iter().position(u8::is_ascii_whitespace);
        let word = rest.head(end.unwrap_or(rest.len()));
        let at = column;
        let after = rest.tail(word.len()).trim_ascii_start();
        column += rest.len() - after.len();
        rest = after;
        (word, at)
    };
    let ((mac, mac_at), (image, image_at)) = (word(), word());
    let row = Row {
        mac,
        image,
        arguments: rest,
    };
    let is_odd = |byte: &u8| !byte.is_ascii_hexdigit() && !b":-*?[]!^".contains(byte);
    if let Some(at) = mac.iter().position(is_odd) {
        let why = text!("write a MAC address, such as 52:54:00:12:34:56 or 52:54:00:*");
        return Err((mac_at + at, why));
    }
    if !row.has_wildcard() && !FORMS.iter().any(|form| is_match(form, mac)) {
        let why = text!("a MAC address has six pairs of digits; * stands for the rest");
        return Err((mac_at, why));
    }
    if image != LOCAL && !is_image(image) && !image.starts_with(b"/") {
        return Err((image_at, IMAGE));
    }
    let is_quoted = |byte: &u8| !matches!(byte, b' '..=b'~' | b'\t') || b"\"'\\".contains(byte);
    match rest.iter().position(is_quoted) {
        Some(at) => Err((
            column + at,
            text!("iPXE passes on no quotes, backslashes and letters beyond ASCII"),
        )),
        None => Ok(Some(row)),
    }
}

/// Returns true if an export has images, or is one.
pub(super) fn has_images(export: &Export<'_>) -> bool {
    export.common_rules().has(Rules::ISOS) || export.is_image()
}

/// The file of an export; `None`: there is none.
fn find_file(tree: &mut Tree, export: usize, peer: &Peer) -> Option<FsResult<Node>> {
    if !tree
        .exports()
        .get(export)
        .is_some_and(|export| has_images(&export))
    {
        return None;
    }
    match find_for(tree, export, peer, NAME) {
        Err(FsError::NoEntry | FsError::NotDirectory | FsError::Stale) => None,
        found => Some(found),
    }
}

/// A number that changes when a file does; 0: there is none.
pub(super) fn stamp(tree: &mut Tree, peer: &Peer) -> u64 {
    let mut stamp = 0;
    for number in 0..tree.exports().len() {
        let Some(found) = find_file(tree, number, peer) else {
            continue;
        };
        let attr = found.and_then(|node| tree.attr(node));
        stamp = fnv1a(stamp ^ FNV_START, b"assign");
        if let Ok(attr) = attr {
            for word in [attr.size, attr.ctime.secs as u64, attr.ctime.nanos.into()] {
                stamp = fnv1a(stamp, &word.to_le_bytes());
            }
        }
    }
    stamp
}

/// Passes the lines of a file to `each`, until that breaks.
fn read_file(tree: &mut Tree, node: Node, each: Each<'_>) -> FsResult<()> {
    if tree.attr(node)?.kind != ObjectType::Regular {
        return Err(FsError::Invalid);
    }
    let pin = tree.pin(node, Some(Access::Read))?;
    let read = read_lines(tree, &pin, each);
    tree.unpin(pin);
    read
}

fn read_lines(tree: &mut Tree, pin: &Pin, each: Each<'_>) -> FsResult<()> {
    const TOO_LONG: Text = text!("the line or the file is too long; the rest is not read");
    let mut buffer = [0; ASSIGN_LINE_BYTES];
    let (mut offset, mut number) = (0, 1);
    loop {
        let len = tree.read(pin, offset, &mut buffer)? as usize;
        let chunk = buffer.head(len);
        if chunk.is_empty() {
            return Ok(());
        }
        let end = chunk.iter().rposition(|byte| *byte == b'\n');
        let end = match end {
            Some(end) => end + 1,
            None if len < buffer.len() => len,
            None => 0,
        };
        if end == 0 || offset >= ASSIGN_BYTES_MAX {
            let _ = each(number, Err((1, TOO_LONG)));
            return Ok(());
        }
        for line in chunk.head(end).split_inclusive(|byte| *byte == b'\n') {
            if let Some(parsed) = parse(line).transpose()
                && each(number, parsed).is_break()
            {
                return Ok(());
            }
            number += 1;
        }
        offset += end as u64;
    }
}

/// Reads the files of all exports, without effect.
///
/// # Errors
/// Those that stop a call: a disk of a bare machine must read something first.
pub(super) fn await_disks(tree: &mut Tree, peer: &Peer) -> FsResult<()> {
    for number in 0..tree.exports().len() {
        if let Some(node) = find_file(tree, number, peer)
            && let Err(error) =
                node.and_then(|node| read_file(tree, node, &mut |_, _| ControlFlow::Continue(())))
            && error.stops()
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Passes the line for a machine to `found`, with its number.
pub(super) fn find(
    tree: &mut Tree,
    peer: &Peer,
    mac: &Mac,
    found: &mut dyn FnMut(u32, &Row<'_>),
) -> FsResult<()> {
    let (mut is_damaged, mut is_found) = (false, false);
    for number in 0..tree.exports().len() {
        let Some(node) = find_file(tree, number, peer) else {
            continue;
        };
        read_file(tree, node?, &mut |number, parsed| match parsed {
            Ok(row) if row.fits(mac) && !(is_damaged && row.has_wildcard()) => {
                found(number, &row);
                is_found = true;
                ControlFlow::Break(())
            }
            parsed => {
                is_damaged |= parsed.is_err();
                ControlFlow::Continue(())
            }
        })?;
        if is_found {
            break;
        }
    }
    Ok(())
}

/// Reports the lines that are refused, and the number of the others.
pub(super) fn report(tree: &mut Tree, peer: &Peer, events: &mut Events) {
    for number in 0..tree.exports().len() {
        let Some(node) = find_file(tree, number, peer) else {
            continue;
        };
        let mut path = Line::default();
        path.raw(tree.path(number).to_bytes()).raw(NAME);
        let [mut count, mut refused_count] = [0_u32; 2];
        let read = node.and_then(|node| {
            read_file(tree, node, &mut |number, parsed| {
                let Err((column, why)) = parsed else {
                    count += 1;
                    return ControlFlow::Continue(());
                };
                refused_count += 1;
                if refused_count <= REPORT_COUNT_MAX {
                    let mut place = Line::default();
                    place.raw(path.bytes()).byte(b':').number(number);
                    place.byte(b':').number(column as u32);
                    events.report(text!("refused:").warn(), place.bytes(), why);
                }
                ControlFlow::Continue(())
            })
        });
        match read {
            Err(_) => {
                let why = text!("it must be a file that everyone may read (chmod)");
                let what = text!("cannot assign images to machines:").warn();
                events.report(what, path.bytes(), why);
            }
            Ok(()) => {
                path.say_number(text!(": lines: "), count.into());
                path.say_number(text!(", refused: "), refused_count.into());
                let what = text!("machines boot as assigned:");
                events.report(what, path.bytes(), Text::NOTHING);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_or_refused_by_column() {
        for (line, expect) in [
            ("", "-"),
            ("  # a comment", "-"),
            ("\t\r\n", "-"),
            ("52:54:00:12:34:56 a.iso\n", "52:54:00:12:34:56|a.iso|"),
            (
                " 52-54-0A-*\tx/A.ISO  a=1  b #c\r\n",
                "52-54-0A-*|x/A.ISO|a=1  b",
            ),
            ("* local", "*|local|"),
            ("[0-5]?:* a.iso x=a#b", "[0-5]?:*|a.iso|x=a#b"),
            ("52:54:00:12:34:5g a.iso", "17"),
            ("  52:54:00:12:34 a.iso", "3"),
            ("5254.0012.3456 a.iso", "5"),
            ("52:54-00:12:34:56 a.iso", "1"),
            ("52:54:00:12:34:56", "18"),
            ("52:54:00:12:34:56  debian x", "20"),
            ("52:54:00:12:34:56 # a.iso", "18"),
            ("* a.iso b=\"c d\"", "11"),
            ("* a.iso b \u{e4}", "11"),
        ] {
            let shown = match parse(line.as_bytes()) {
                Ok(None) => "-".to_owned(),
                Ok(Some(row)) => [row.mac, row.image, row.arguments]
                    .map(|word| String::from_utf8_lossy(word).into_owned())
                    .join("|"),
                Err((column, _)) => column.to_string(),
            };
            assert_eq!(shown, expect, "{line:?}");
        }
    }

    #[test]
    fn mac_addresses_fit_in_both_forms() {
        let asked = mac(b"52-54-00-Ab-34-56").unwrap();
        assert_eq!(&asked, b"52:54:00:Ab:34:56");
        for (pattern, expect) in [
            ("52:54:00:aB:34:56", true),
            ("52-54-00-AB-34-56", true),
            ("52-54-*", true),
            ("*", true),
            ("??:54:00:[a-f]?:34:5[!0-5]", true),
            ("52:54:00:ab:34:57", false),
            ("52:54:00:ab:34", false),
        ] {
            let row = Row {
                mac: pattern.as_bytes(),
                image: b"",
                arguments: b"",
            };
            assert_eq!(row.fits(&asked), expect, "{pattern}");
        }
        for wrong in [
            "",
            "52:54:00:ab:34",
            "52:54:00:ab:34:5x",
            "52:54:00:ab:34:56:",
            "5:254:00:ab:34:56",
        ] {
            assert_eq!(mac(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
