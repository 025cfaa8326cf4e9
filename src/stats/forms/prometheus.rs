//! The figures as Prometheus' text: families, each with a line for each row.

use super::form::{Form, put_text};
use super::rows::{Reader, Row, Rows};
use crate::event::Line;
use crate::mem::parts;
use crate::stats::names::{FIGURE_COUNT, Kind};
use crate::stats::{BUCKET_COUNT, Figure, LIMITS_US, Operation};
use crate::text::{Text, text};

/// A family: a number of each of these rows.
#[derive(Clone, Copy)]
pub(super) struct Family {
    name: &'static str,
    help: Text,
    kind: Kind,
    rows: Rows,
    /// Index of the number.
    column: u8,
    /// Names of the labels. The values are the row's texts, of which an empty name skips one, the PID and the number of the row.
    labels: &'static str,
}

/// The families that are no figures of protocols.
const FAMILIES: [Family; 11] = [
    Family {
        name: "process_start_time_seconds",
        help: text!("Time at which a process was started, since 1970."),
        kind: Kind::Gauge,
        rows: Rows::Processes,
        column: 3,
        labels: "role pid number",
    },
    Family {
        name: "process_restarts_total",
        help: text!("Times that a process was started again."),
        kind: Kind::Counter,
        rows: Rows::Processes,
        column: 2,
        // A number stays when the process is replaced.
        labels: "role number",
    },
    Family {
        name: "build_info",
        help: text!("1; the label has the version."),
        kind: Kind::Gauge,
        rows: Rows::Server,
        column: 0,
        labels: "version",
    },
    Family {
        name: "process_start_time_seconds",
        help: text!("Time at which the server was started, since 1970."),
        kind: Kind::Gauge,
        rows: Rows::Server,
        column: 1,
        labels: "",
    },
    Family {
        name: "process_resident_memory_bytes",
        help: text!("Memory in use, all processes together."),
        kind: Kind::Gauge,
        rows: Rows::Server,
        column: 2,
        labels: "",
    },
    Family {
        name: "process_open_fds",
        help: text!("Open file descriptors, all processes together."),
        kind: Kind::Gauge,
        rows: Rows::Server,
        column: 3,
        labels: "",
    },
    Family {
        name: "call_duration_seconds",
        help: text!("Time from the arrival of a call to its reply."),
        kind: Kind::Histogram,
        rows: Rows::Buckets,
        column: 0,
        labels: "program procedure",
    },
    Family {
        name: "call_errors_total",
        help: text!("Calls that were answered by an error."),
        kind: Kind::Counter,
        rows: Rows::Operations,
        column: 2,
        labels: "program procedure",
    },
    Family {
        name: "export_open",
        help: text!("1 if an export is served, 0 if its directory is missing."),
        kind: Kind::Gauge,
        rows: Rows::Exports,
        column: 0,
        // Paths of which only the end differs have equal labels.
        labels: " export number",
    },
    Family {
        name: "nfs4_clients",
        help: text!("Clients of NFS 4.1, also those whose lease has expired."),
        kind: Kind::Gauge,
        rows: Rows::Nfs4,
        column: 0,
        labels: "",
    },
    Family {
        name: "nfs4_opens",
        help: text!("Files that clients of NFS 4.1 have open."),
        kind: Kind::Gauge,
        rows: Rows::Nfs4,
        column: 1,
        labels: "",
    },
];

/// The meanings of the figures of protocols.
const HELPS: [Text; FIGURE_COUNT] = [
    text!("Open connections."),
    text!("Connections accepted."),
    text!("Bytes received."),
    text!("Bytes sent."),
    text!("Connections, mounts and messages that were refused."),
    text!("Connections that the server closed: idle, too slow, or for want of room."),
    text!("Repeated calls that were answered from the cache."),
    text!("Connections that wait for a disk."),
    text!("Records announced."),
    text!("Queries received."),
    text!("Messages sent: answers, announcements and probes."),
    text!("Names that another host had."),
    text!("Requests for what does not exist, is not allowed or not understood: 4xx of HTTP."),
];

/// Most exports that are shown: Prometheus keeps a series for each value of a label.
const EXPORT_COUNT_MAX: usize = 100;

/// The family with this number.
pub(super) fn family(at: u8) -> Option<Family> {
    let at = usize::from(at);
    match Figure::family(at).zip(HELPS.get(at)) {
        Some(((name, kind), help)) => Some(Family {
            name,
            help: *help,
            kind: *kind,
            rows: Rows::Protocols,
            column: at as u8,
            labels: "protocol",
        }),
        None => FAMILIES.get(at - FIGURE_COUNT).copied(),
    }
}

impl Family {
    /// Writes the lines before the samples.
    pub(super) fn begin(&self, line: &mut Line) {
        let kind = match self.kind {
            Kind::Counter => " counter\n",
            Kind::Gauge => " gauge\n",
            Kind::Histogram => " histogram\n",
        };
        self.put_name(line.text("# HELP "))
            .byte(b' ')
            .say(self.help);
        self.put_name(line.text("\n# TYPE ")).text(kind);
    }

    /// Writes the name. Figures of the server have those that all exporters use.
    fn put_name<'a>(&self, line: &'a mut Line) -> &'a mut Line {
        if self.rows != Rows::Server || self.column == 0 {
            line.text("stowaway_");
        }
        line.text(self.name)
    }

    /// Writes the name, and the labels without the bracket at the end.
    fn begin_sample(&self, end: &str, texts: &[&[u8]], pid: u64, at: usize, line: &mut Line) {
        self.put_name(line).text(end);
        let (mut texts, mut joint) = (texts.iter(), b'{');
        for name in parts(self.labels.as_bytes(), b' ') {
            let mut number = Line::default();
            let text = match name {
                b"pid" => number.digits(pid, 10, 1).bytes(),
                b"number" => number.number(at as u32).bytes(),
                _ => texts.next().unwrap_or(&&b""[..]),
            };
            if !name.is_empty() {
                line.byte(joint).raw(name).text("=\"");
                put_text(Form::Prometheus, text, line).byte(b'"');
                joint = b',';
            }
        }
    }
}

impl<'a> Reader<'a> {
    /// Writes the line of a row, or nothing if it is of nothing. `None`: the row is after the last one.
    pub(super) fn put_sample(
        &self,
        family: &Family,
        at: usize,
        row: &mut Row<'a>,
        line: &mut Line,
    ) -> Option<()> {
        match family.rows {
            Rows::Buckets => return self.put_bucket(family, at, line),
            Rows::Exports if (self.exports)(EXPORT_COUNT_MAX).is_some() => return None,
            _ => {}
        }
        self.fill(family.rows, Form::Prometheus, at, row)?;
        let number = row.numbers.get(usize::from(family.column));
        let number = number.copied().unwrap_or(0);
        // Calls without errors have no line, and neither have sizes that the host does not tell.
        let is_told = number > 0 || !matches!(family.rows, Rows::Operations | Rows::Server);
        if row.is_there && is_told {
            family.begin_sample("", &row.texts(), row.numbers[0], at, line);
            if !family.labels.is_empty() {
                line.byte(b'}');
            }
            line.byte(b' ').digits(number, 10, 1).byte(b'\n');
        }
        Some(())
    }

    /// Writes a bucket, the sum or the number of an operation's calls.
    fn put_bucket(&self, family: &Family, at: usize, line: &mut Line) -> Option<()> {
        const LINE_COUNT: usize = BUCKET_COUNT + 2;
        let operation = Operation::nth(at / LINE_COUNT)?;
        let bucket = at % LINE_COUNT;
        if self.calls_below(operation, BUCKET_COUNT) == 0 {
            return Some(());
        }
        let end = match bucket {
            BUCKET_COUNT => "_sum",
            0..BUCKET_COUNT => "_bucket",
            _ => "_count",
        };
        family.begin_sample(end, &operation.texts(), 0, at, line);
        if bucket < BUCKET_COUNT {
            line.text(",le=\"");
            match LIMITS_US.get(bucket) {
                Some(limit) => put_seconds(line, *limit),
                None => _ = line.text("+Inf"),
            }
            line.byte(b'"');
        }
        line.text("} ");
        match bucket {
            BUCKET_COUNT => put_seconds(line, self.sum(|sheet| sheet.calls(operation).1)),
            _ => _ = line.digits(self.calls_below(operation, bucket + 1), 10, 1),
        }
        line.byte(b'\n');
        Some(())
    }
}

/// Microseconds as seconds.
fn put_seconds(line: &mut Line, us: u64) {
    line.digits(us / 1_000_000, 10, 1);
    line.byte(b'.').digits(us % 1_000_000, 10, 6);
}
