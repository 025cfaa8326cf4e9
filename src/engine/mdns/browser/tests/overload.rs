//! A link whose services do not fit into the cache, with a host that answers each question.

use super::super::{Goal, Limits};
use super::bench::{Bench, HOST, HTTP, Say, answer};
use crate::wire::dns::kind;

/// A browser, and the host that answers it.
struct Overload {
    bench: Bench,
    /// Number of services.
    count: usize,
    /// Length (bytes) of each service's TXT record.
    len: usize,
    /// Number of changes of services.
    changes: usize,
}

fn instance(number: usize) -> String {
    format!("s{number:03}.{HTTP}")
}

impl Overload {
    /// Returns the TXT record of a service. A change of the service changes its last byte.
    fn txt(&self, number: usize) -> Say {
        let mut text = vec![b'x'; self.len];
        for string in text.chunks_mut(250) {
            string[0] = string.len() as u8 - 1;
        }
        text[self.len - 1] = ((self.changes + self.count - 1 - number) / self.count) as u8;
        answer().txt(&instance(number), 4500, &text)
    }

    /// Answers a question.
    fn answer(&mut self, name: &str, kind: u16) {
        if kind == kind::PTR {
            for from in (0..self.count).step_by(40) {
                let numbers = from..self.count.min(from + 40);
                let ptr = |say: Say, number| say.ptr(HTTP, 4500, &instance(number));
                self.bench.receive(numbers.fold(answer(), ptr));
            }
            return;
        }
        let number = name.get(1..4).and_then(|digits| digits.parse().ok());
        let say = match number {
            Some(number) if kind == kind::TXT => self.txt(number),
            Some(_) => answer().srv(name, 120, 80, HOST),
            None => answer().a(HOST, 120, [192, 0, 2, 9]),
        };
        let kinds: &[u16] = number.map_or(&[kind::A], |_| &[kind::SRV, kind::TXT]);
        self.bench.receive(say.nsec(name, 120, kinds));
    }

    /// Changes the TXT record of one service, then reports a change of the link if `is_link`.
    fn change(&mut self, is_link: bool) {
        self.changes += 1;
        let say = self.txt((self.changes - 1) % self.count);
        self.bench.receive(say);
        if is_link {
            self.bench.notify_link_change(0);
        }
    }
}

/// RFC 6762 section 5.2: "the interval between the first two queries MUST be at least one second, the intervals between successive
/// queries MUST increase by at least a factor of two". Each service is found, and `take_overflow` returns true once.
#[test]
fn full_cache_and_changes_cause_no_storm() {
    // A quarter of the tables, because the time grows with their square.
    let limits = Limits {
        records: Limits::DEFAULT.records / 4,
        names: Limits::DEFAULT.names / 4,
        questions: Limits::DEFAULT.questions / 4,
        rdata_bytes: Limits::DEFAULT.rdata_bytes / 4,
    };
    // Services and their bytes, milliseconds between two changes, seconds, and true if the link changes, too.
    for (count, len, interval_ms, secs, is_link) in [
        (250, 250, 60, 60, false),
        (75, 1000, 200, 60, false),
        (68, 1000, 60, 60, false),
        (30, 1000, 200, 60, true),
        (75, 1000, 20_000, 10_000, false),
    ] {
        let mut link = Overload {
            bench: Bench::with_limits(&limits),
            count,
            len,
            changes: 0,
        };
        link.bench.look_up(Goal::Services, HTTP);
        let (mut answered, step_ms) = (0, interval_ms.min(1000) / 10);
        for step in 1..=secs * 1000 / step_ms {
            link.bench.wait(step_ms);
            while let Some(sent) = link.bench.sent.get(answered) {
                answered += 1;
                for (name, kind, _) in sent.asks.clone() {
                    link.answer(&name, kind);
                }
            }
            if step % (interval_ms / step_ms) == 0 {
                link.change(is_link);
            }
        }
        let row = format!("{count} of {len} bytes, {interval_ms} ms, {secs} s");
        let times = link.bench.query_times(0, HTTP, kind::PTR);
        let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let doubles = |pair: &[u64]| pair[1] + 150 >= (2 * pair[0]).min(3_600_000);
        assert!(
            waits[0] >= 1000 && waits.windows(2).all(doubles),
            "{row}: {waits:?}"
        );
        let asking = link.bench.sent.iter().filter(|sent| !sent.asks.is_empty());
        let late = asking.filter(|sent| sent.ms > 110_000).count();
        assert!(late <= 10 || secs > 60, "{row}: {late} queries");
        let is_full = count * len > limits.rdata_bytes * 15 / 16;
        let overflows = [(); 2].map(|()| link.bench.browser.take_overflow());
        assert_eq!(overflows, [is_full, false], "{row}");
        let lines = link.bench.lines();
        let number = |kind| lines.iter().filter(|line| line.starts_with(kind)).count();
        let [added, resolved, failed] = ["Added", "Resolved", "Unresolved"].map(number);
        assert!(
            added == count && resolved + failed >= count,
            "{row}: {resolved}, {failed}"
        );
        assert!(
            resolved * (len + 60) > limits.rdata_bytes * 7 / 8 || !is_full,
            "{row}: {resolved}"
        );
    }
}
