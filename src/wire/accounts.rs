//! passwd(5) and group(5). Malformed lines are skipped.

use super::label::{cut, number};
use crate::mem::{nth, parts};

/// A line of passwd(5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User<'a> {
    /// Login name.
    pub name: &'a [u8],
    /// UID.
    pub uid: u32,
    /// Primary GID.
    pub gid: u32,
}

impl<'a> User<'a> {
    /// Parses the first line of `text`.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (line, _) = cut(text, b'\n');
        Some(Self {
            name: nth(line, b':', 0),
            uid: number(nth(line, b':', 2), 10)?,
            gid: number(nth(line, b':', 3), 10)?,
        })
    }
}

/// The users of a file, each with the offset of its line.
pub fn users(text: &[u8]) -> impl Iterator<Item = (usize, User<'_>)> {
    let mut end = 0;
    let lines = parts(text, b'\n').map(move |line| {
        let start = end;
        end += line.len() + 1;
        (start, line)
    });
    lines.filter_map(|(start, line)| Some((start, User::parse(line)?)))
}

/// The GID and the members of each group of a file.
pub fn groups(text: &[u8]) -> impl Iterator<Item = (u32, impl Iterator<Item = &[u8]>)> {
    parts(text, b'\n').filter_map(|line| {
        let gid = number(nth(line, b':', 2), 10)?;
        let members = parts(nth(line, b':', 3), b',');
        Some((gid, members.map(|member| member.trim_ascii())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_lines_are_skipped() {
        let text =
            b"root:x:0:0::/root:/bin/sh\n+\n:::\nx:x:-1:2\n\nnot:x:4294967296:1\nalice:x:1000:100";
        let read: Vec<_> = users(text)
            .map(|(at, user)| (at, user.uid, user.gid))
            .collect();
        assert_eq!(read, [(0, 0, 0), (61, 1000, 100)]);
        assert_eq!(User::parse(&text[61..]).unwrap().name, b"alice");
        let text = b"wheel:x:10:root, alice\nempty:x:11:\nbad:x::root\nshort:x:12";
        let read: Vec<_> = groups(text)
            .map(|(gid, members)| (gid, members.collect::<Vec<_>>().join(&b' ')))
            .collect();
        assert_eq!(
            read,
            [(10, b"root alice".to_vec()), (11, vec![]), (12, vec![])]
        );
    }
}
