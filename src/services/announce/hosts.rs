//! Reads the file of `--hosts`: host names to announce for addresses of other hosts, in lines of `ADDRESS NAME`. avahi.hosts(5).

use crate::event::{self, Line, Sink};
use crate::mem::parts;
use crate::os::files::Directory;
use crate::os::source::stamped;
use crate::os::source::{self, Memory};
use crate::sys::Errno;
use crate::text::text;
use crate::wire::address::address;
use crate::wire::announce::host_labels;
use crate::wire::label::cut;
use core::ffi::CStr;
use core::net::IpAddr;

/// Calls `each` with the labels before `.local` and the address of each line. Malformed lines are reported to `sink` and left out.
/// Returns a hash of the file.
///
/// # Errors
/// Those of [`source::read`].
pub fn read(
    path: &CStr,
    memory: &mut Memory,
    sink: &mut dyn Sink,
    each: &mut dyn FnMut(&[u8], Option<&IpAddr>),
) -> Result<u64, Errno> {
    let file = source::read(&Directory::open(c".")?, path.to_bytes(), memory)?;
    for (line, number) in parts(file, b'\n').zip(1..) {
        if read_line(line, each).is_none() {
            let mut about = Line::default();
            about.raw(path.to_bytes()).byte(b':').number(number);
            let why = text!("a line has a numeric address and a name that ends with .local");
            event::report(sink, text!("left out").warn(), about.bytes(), why);
        }
    }
    Ok(stamped(file, 0))
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
    use super::*;
    use crate::os::source::tests::{TestDir, memory};

    #[test]
    fn malformed_lines_are_left_out() {
        let test_dir = TestDir::new("hosts");
        test_dir.put(
            "hosts",
            "# comment\n\n192.0.2.9 gate.local\n \t2001:db8::9\tgate.local # again\r\n\
             192.0.2.10 a.b.local\n192.0.2.11\n192.0.2 x.local\n192.0.2.12 x.example.org\n192.0.2.13 a b\n\
             192.0.2.14 .local\n192.0.2.15 last\n192.0.2.16 Upper.LOCAL\n192.0.2.17 dot.local.\n192.0.2.18 a.b.\n\
             192.0.2.19 local\n192.0.2.20 .",
        );
        let path = std::ffi::CString::new(test_dir.0.join("hosts").to_str().unwrap()).unwrap();
        let mut read_ones = Vec::new();
        let sink = &mut crate::event::testing::Sink::default();
        read(&path, &mut memory(), sink, &mut |labels, address| {
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
                "192.0.2.15 last",
                "192.0.2.16 Upper",
                "192.0.2.17 dot",
                "192.0.2.19 local"
            ]
        );
    }
}
