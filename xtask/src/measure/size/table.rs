//! The tables of `cargo xtask size`, in Markdown as for `image/doc/size.md`.

use super::peers::Peer;
use crate::build::{Arch, Step};

/// A file of stowaway, and its size after each build step.
pub(super) struct Column {
    /// The file's roles joined by `+`, or `all roles`.
    pub name: String,
    pub steps: Vec<Step>,
}

impl Column {
    /// Size (bytes) of the shipped file, which is the size after the last step.
    pub(super) fn bytes(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.bytes)
    }
}

/// The size in bytes of each file after each build step.
pub(super) fn steps(arch: Arch, columns: &[Column]) -> String {
    let mut head = vec![format!("bytes for {}", arch.name())];
    head.extend(columns.iter().map(|column| column.name.clone()));
    let steps = columns.first().map_or(&[][..], |column| &column.steps);
    let rows = steps.iter().enumerate().map(|(index, step)| {
        let bytes = |column: &Column| column.steps.get(index).map_or(0, |step| step.bytes);
        (step.name.to_owned(), columns.iter().map(bytes).collect())
    });
    markdown(&head, rows)
}

/// stowaway's files and the other programs, sorted by bytes with libraries, smallest first.
pub(super) fn programs(columns: &[Column], peers: &[Peer]) -> String {
    let ours = columns.iter().map(|column| {
        let bytes = column.bytes();
        (format!("stowaway: {}", column.name), vec![bytes, 0, bytes])
    });
    let others = peers.iter().map(|peer| {
        let numbers = vec![peer.file, peer.libraries as u64, peer.total_bytes];
        (format!("{}: {}", peer.name, peer.purpose), numbers)
    });
    let mut rows: Vec<(String, Vec<u64>)> = ours.chain(others).collect();
    rows.sort_by_key(|(_, numbers)| numbers.last().copied());
    let head = ["program", "its file", "libraries", "with them"];
    markdown(&head.map(str::to_owned), rows)
}

/// A Markdown table with names in the first column and numbers in the others.
fn markdown(head: &[String], rows: impl IntoIterator<Item = (String, Vec<u64>)>) -> String {
    let lines = "--:|".repeat(head.len() - 1);
    let mut text = format!("| {} |\n|---|{lines}\n", head.join(" | "));
    for (name, row) in rows {
        let numbers: Vec<String> = row.into_iter().map(grouped).collect();
        text += &format!("| {name} | {} |\n", numbers.join(" | "));
    }
    text
}

/// Inserts commas between groups of three digits: 94,332.
pub(super) fn grouped(number: u64) -> String {
    match number / 1000 {
        0 => number.to_string(),
        thousands => format!("{},{:03}", grouped(thousands), number % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_sorted_by_bytes_with_libraries() {
        let step = |bytes| Step {
            name: "linked",
            bytes,
        };
        let column = Column {
            name: "nfs".into(),
            steps: vec![step(1_234_567), step(53_724)],
        };
        let peer = |name, file, all| Peer {
            name,
            purpose: "NFS",
            file,
            total_bytes: all,
            libraries: 2,
        };
        let peers = [peer("heavy", 100, 2_000_000), peer("light", 40, 50)];
        let text = programs(&[column], &peers);
        let expect = "| program | its file | libraries | with them |\n|---|--:|--:|--:|\n\
            | light: NFS | 40 | 2 | 50 |\n| stowaway: nfs | 53,724 | 0 | 53,724 |\n\
            | heavy: NFS | 100 | 2 | 2,000,000 |\n";
        assert_eq!(text, expect);
    }

    #[test]
    fn thousands_are_separated_by_commas() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_020_003, "1,020,003"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
