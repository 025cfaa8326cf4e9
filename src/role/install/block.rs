//! Lines of ours in a script of the host, between two comments.

use crate::mem::{Ends as _, parts};
use crate::wire::Writer;

const BEGIN: &[u8] = b"# stowaway begin";
const END: &[u8] = b"# stowaway end";
/// The line that ends the script; later lines would not run.
const EXIT: &[u8] = b"exit 0";

/// Writes `script` to `out` with `block` in place of the lines from the one that begins with [`BEGIN`] to [`END`]. Without such
/// lines, `block` goes before the last line [`EXIT`], else to the end. `None`: the second comment is missing.
pub(super) fn replace(script: &[u8], block: &[u8], out: &mut Writer<'_>) -> Option<()> {
    let (mut begin, mut end, mut exit, mut start) = (None, None, script.len(), 0);
    for line in parts(script, b'\n') {
        let after = (start + line.len() + 1).min(script.len());
        if line.starts_with(BEGIN) {
            begin = Some(start);
        } else if line == END {
            end = Some(after);
        } else if line == EXIT {
            exit = start;
        }
        start = after;
    }
    let (from, to) = match (begin, end) {
        (Some(begin), Some(end)) if begin < end => (begin, end),
        (None, None) => (exit, exit),
        _ => return None,
    };
    let before = script.head(from);
    out.put(before);
    if !block.is_empty() && !matches!(before, [] | [.., b'\n']) {
        out.put(b"\n");
    }
    out.put(block);
    out.put(script.tail(to));
    out.written().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(script: &str, block: &str) -> Option<String> {
        let mut buffer = [0; 256];
        let mut out = Writer::new(&mut buffer);
        replace(script.as_bytes(), block.as_bytes(), &mut out)?;
        Some(String::from_utf8(out.since(0).to_vec()).unwrap())
    }

    #[test]
    fn block_goes_before_last_exit_without_trace() {
        const BLOCK: &str = "# stowaway begin: 1\nrun\n# stowaway end\n";
        for (script, expect) in [
            ("#!/bin/sh\nexit 0\n", format!("#!/bin/sh\n{BLOCK}exit 0\n")),
            ("exit 0\na\nexit 0", format!("exit 0\na\n{BLOCK}exit 0")),
            ("a\n exit 0\n", format!("a\n exit 0\n{BLOCK}")),
            ("", BLOCK.to_owned()),
        ] {
            let with = replaced(script, BLOCK).unwrap();
            assert_eq!(with, expect);
            assert_eq!(replaced(&with, BLOCK).unwrap(), with);
            assert_eq!(replaced(&with, "").unwrap(), script);
            let newer = BLOCK.replace("run", "other");
            let newest = replaced(&with, &newer).unwrap();
            assert_eq!(newest, expect.replace("run", "other"));
        }
        assert_eq!(replaced("a", BLOCK).unwrap(), format!("a\n{BLOCK}"));
        assert_eq!(replaced("a", "").unwrap(), "a");
    }

    #[test]
    fn incomplete_blocks_are_refused() {
        for script in [
            "# stowaway begin\nrun\n",
            "# stowaway end\n",
            "# stowaway end\n# stowaway begin\n",
        ] {
            assert_eq!(replaced(script, "x\n"), None);
        }
        assert_eq!(replaced(&"x".repeat(300), ""), None);
    }
}
