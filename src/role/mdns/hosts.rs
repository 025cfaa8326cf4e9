//! Reads the file of `--hosts`: host names to announce for addresses of other hosts, in lines of `ADDRESS NAME`. avahi.hosts(5).

use super::super::Console;
use super::super::args::address;
use super::source::{self, Memory};
use crate::drive::platform::host::files::Directory;
use crate::event::{self, Line};
use crate::mem::parts;
use crate::text::text;
use crate::vfs::FsResult;
use crate::wire::announce::host_labels;
use crate::wire::label::cut;
use core::ffi::CStr;
use core::net::IpAddr;

/// Calls `each` with the labels before `.local` and the address of each line. Malformed lines are reported and left out.
///
/// # Errors
/// Those of [`source::read`].
pub(super) fn read(
    path: &CStr,
    memory: &mut Memory,
    each: &mut dyn FnMut(&[u8], Option<&IpAddr>),
) -> FsResult<()> {
    let file = source::read(&Directory::open(c".")?, path.to_bytes(), memory)?;
    for (line, number) in parts(file, b'\n').zip(1..) {
        if read_line(line, each).is_none() {
            let mut about = Line::default();
            about.raw(path.to_bytes()).byte(b':').number(number);
            let why = text!("a line has a numeric address and a name that ends with .local");
            event::report(&mut Console, text!("left out"), about.bytes(), why);
        }
    }
    Ok(())
}

/// Parses a line, which may be empty or a comment. `None`: malformed.
fn read_line(line: &[u8], each: &mut dyn FnMut(&[u8], Option<&IpAddr>)) -> Option<()> {
    let (line, _) = cut(line, b'#');
    let words = line.split(u8::is_ascii_whitespace);
    let mut words = words.filter(|word| !word.is_empty());
    let mut next = || words.next();
    let Some(word) = next() else {
        return Some(());
    };
    let labels = host_labels(next()?)?;
    let address = address(word)?.to_canonical();
    next().is_none().then(|| each(labels, Some(&address)))
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::{TestDir, memory};
    use super::*;

    #[test]
    fn malformed_lines_are_left_out() {
        let test_dir = TestDir::new("hosts");
        test_dir.put(
            "hosts",
            "# comment\n\n192.0.2.9 gate.local\n \t2001:db8::9\tgate.local # again\r\n\
             192.0.2.10 a.b.local\n192.0.2.11\n192.0.2 x.local\n192.0.2.12 x.example.org\n192.0.2.13 a b\n\
             192.0.2.14 .local\n192.0.2.15 last",
        );
        let path = std::ffi::CString::new(test_dir.0.join("hosts").to_str().unwrap()).unwrap();
        let mut read_ones = Vec::new();
        read(&path, &mut memory(), &mut |labels, address| {
            let labels = String::from_utf8(labels.to_vec()).unwrap();
            read_ones.push(format!("{} {labels}", address.unwrap()));
        })
        .unwrap();
        assert_eq!(
            read_ones,
            [
                "192.0.2.9 gate",
                "2001:db8::9 gate",
                "192.0.2.10 a.b",
                "192.0.2.15 last"
            ]
        );
    }
}
