//! The access log: a line for each reply in the combined log format, as web servers write it. Times are in UTC.

use super::Http;
use super::reply::number;
use crate::engine::Cx;
use crate::event::{Line, Marks};
use crate::mem::{Ends as _, parts};
use crate::stats::{Family, Figure, Operation, Outcome};
use crate::wire::Writer;
use crate::wire::http::{Fields, escape_log, write_date};

/// Parts of a request in a line (bytes); longer ones are cut.
const LINE_BYTES_MAX: usize = 768;
const FIELD_BYTES_MAX: usize = 192;
/// Longest line of the log (bytes): each byte of the parts becomes four at most.
const BYTES_MAX: usize = 4 * (LINE_BYTES_MAX + 2 * FIELD_BYTES_MAX) + 256;

/// Length of a body whose end is not known yet.
pub(super) const UNKNOWN_LEN: u64 = u64::MAX;

impl Http {
    /// Counts a reply, and writes its line. `input` begins with the request; `fields` is `None` if it could not be parsed; `len` is the length
    /// of the body (bytes), or [`UNKNOWN_LEN`].
    pub(super) fn log(
        &mut self,
        cx: &mut Cx<'_>,
        input: &[u8],
        fields: Option<&Fields<'_>>,
        (status, len): (u16, u64),
    ) {
        let method = match input {
            [b'G', b'E', b'T', b' ', ..] => 0,
            [b'H', b'E', b'A', b'D', b' ', ..] => 1,
            [b'O', b'P', b'T', ..] => 2,
            _ => 3,
        };
        let outcome = Outcome::of_error(status >= 500);
        cx.stats.called(Operation::http(method), outcome);
        if (400..500).contains(&status) {
            cx.stats.add(Family::Http, Figure::ClientErrors, 1);
        }
        let path = self.path.head(self.path_len);
        self.script.note(cx, method == 0, status, path);
        let Some(sink) = &mut self.log else {
            return;
        };
        let buffer = &mut [0; BYTES_MAX];
        let mut out = Writer::new(buffer);
        out.put(Line::default().address(cx.peer.address).bytes());
        let date = write_date(self.wall_secs);
        out.put(b" - - [");
        // From "Sun, 29 Nov 2026 01:31:07 GMT".
        for (from, to, after) in [(5, 7, b'/'), (8, 11, b'/'), (12, 16, b':'), (17, 25, b' ')] {
            out.put(date.get(from..to).unwrap_or_default());
            out.put(&[after]);
        }
        out.put(b"+0000] \"");
        let line = parts(input, b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = line.into_iter().find(|line| !line.is_empty());
        escape_log(&mut out, cut(line.unwrap_or(b"-"), LINE_BYTES_MAX));
        out.put(b"\" ");
        number(&mut out, status.into());
        out.put(b" ");
        match len {
            UNKNOWN_LEN => out.put(b"-"),
            len => number(&mut out, len),
        }
        for name in [&b"Referer"[..], b"User-Agent"] {
            let field = fields.and_then(|fields| fields.get(name));
            out.put(b" \"");
            escape_log(&mut out, cut(field.unwrap_or(b"-"), FIELD_BYTES_MAX));
            out.put(b"\"");
        }
        out.put(b"\n");
        sink.write_line(out.since(0), Marks::default());
    }
}

/// The first `len` bytes of a text.
fn cut(text: &[u8], len: usize) -> &[u8] {
    text.head(text.len().min(len))
}
