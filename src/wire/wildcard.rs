//! Host names with wildcards, as in exports(5): `*` and `?` also match dots, `[a-z]` is a class and `[!a-z]` or `[^a-z]` its opposite.

use crate::mem::Ends as _;

/// Returns true if the pattern matches the whole name, ignoring ASCII case.
pub fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // The pattern after the last `*`, and the rest of the name where the next attempt starts.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([b'*', after @ ..], _) => {
                again = Some((after, name));
                pattern = after;
                continue;
            }
            ([], []) => return true,
            (_, [byte, rest @ ..]) => {
                if let Some(after) = one(pattern, *byte) {
                    (pattern, name) = (after, rest);
                    continue;
                }
            }
            _ => {}
        }
        // Lets the last `*` match one byte more.
        let Some((after, [_, rest @ ..])) = again else {
            return false;
        };
        again = Some((after, rest));
        (pattern, name) = (after, rest);
    }
}

/// Matches one byte. Returns the pattern after it; `None`: no match.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let byte = byte.to_ascii_lowercase();
    match pattern {
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => {
            let (is_opposite, class) = match class {
                [b'!' | b'^', class @ ..] => (true, class),
                class => (false, class),
            };
            // A "]" at the start of a class belongs to it.
            let end = 1 + class.iter().skip(1).position(|byte| *byte == b']')?;
            let after = class.tail(end + 1);
            (has(class.head(end), byte) != is_opposite).then_some(after)
        }
        [first, after @ ..] if first.to_ascii_lowercase() == byte => Some(after),
        _ => None,
    }
}

/// Returns true if a class without its brackets has this byte, in lower case.
fn has(mut class: &[u8], byte: u8) -> bool {
    loop {
        let (first, last);
        (first, last, class) = match class {
            [first, b'-', last, rest @ ..] => (*first, *last, rest),
            [only, rest @ ..] => (*only, *only, rest),
            [] => return false,
        };
        if (first.to_ascii_lowercase()..=last.to_ascii_lowercase()).contains(&byte) {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_whole_names_in_any_case() {
        for (pattern, name, expect) in [
            ("*", "", true),
            ("*", "a.b", true),
            ("*.cs.foo.edu", "host.cs.foo.edu", true),
            ("*.cs.foo.edu", "a.b.CS.foo.edu", true),
            ("*.cs.foo.edu", "cs.foo.edu", false),
            ("*.cs.foo.edu", "host.cs.foo.edu.evil.org", false),
            ("*.cs.foo.edu", "hostXcs.foo.edu", false),
            ("node?", "node7", true),
            ("node?", "node", false),
            ("node?", "node77", false),
            ("n[0-9][ab]*", "N5b.x", true),
            ("n[0-9]", "nx", false),
            ("n[!0-9]", "nx", true),
            ("n[^0-9]", "n5", false),
            ("n[]a]", "n]", true),
            ("n[a-", "na", false),
            ("n[", "n[", false),
            ("*a*b*c", "xaxbxbxc", true),
            ("*a*b*c", "xaxbxbx", false),
            ("A-b", "a-B", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                is_match(pattern.as_bytes(), name.as_bytes()),
                expect,
                "{pattern} {name}"
            );
        }
        // Takes no exponential time.
        let pattern = "*a".repeat(100);
        assert!(!is_match(pattern.as_bytes(), "a".repeat(99).as_bytes()));
    }
}
