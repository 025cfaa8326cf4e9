//! The man pages in image/man, against the flags of the roles and the texts of their `--help`.

use super::flags::{Flags, Row};
use super::*;
use std::collections::BTreeSet;
use std::fs;

/// The roles with their flags, and those that `--help` leaves out: flags of unfsd, which scripts pass, and for developers and
/// machines.
const ROLES: [(&str, &Flags, &str); 17] = [
    ("nfs", &nfs::FLAGS, "-b -C -c -d -r -s -t -u -w --trace"),
    (
        "serve",
        &serve::FLAGS,
        "-b -C -c -d -r -s -t -u -w --trace --one-process --sftp",
    ),
    ("http", &http::FLAGS, "-d -s"),
    ("boot", &boot::FLAGS, "-d"),
    ("sftp-server", &sftp_server::FLAGS, "-c"),
    ("ls", &Flags::of(&[], &[ls_cat::HELP]), ""),
    ("cat", &Flags::of(&[], &[ls_cat::HELP]), ""),
    ("check", &check::FLAGS, ""),
    ("probe", &probe::FLAGS, ""),
    ("status", &status::FLAGS, ""),
    ("install", &install::FLAGS, ""),
    ("mdns", &mdns::FLAGS, ""),
    ("browse", &browse::FLAGS, ""),
    ("publish", &publish::FLAGS, ""),
    ("resolve", &resolve::FLAGS, "-v --verbose"),
    ("completion", &completion::FLAGS, ""),
    ("init", &Flags::of(&[], &[]), ""),
];

/// Arguments of which the man page says more than `--help`, in other words.
const SAID_AT_LENGTH: [(&str, &str); 22] = [
    ("status", "PID"),
    // `--name` of the stack has the place of the other name of `-n`.
    ("resolve", "--name"),
    ("nfs", "-T"),
    ("nfs", "-D"),
    ("nfs", "--manage-gids"),
    ("nfs", "--log"),
    ("nfs", "--log-level"),
    ("nfs", "--log-format"),
    ("serve", "-T"),
    ("serve", "--http"),
    ("serve", "--http-root"),
    ("serve", "--access-log"),
    ("serve", "--metrics"),
    ("serve", "--metrics-from"),
    ("http", "-T"),
    ("http", "--http"),
    ("http", "--http-root"),
    ("http", "--access-log"),
    ("http", "--metrics"),
    ("http", "--metrics-from"),
    ("browse", "-D"),
    ("browse", "-c"),
];

/// A role, as `--help` and its table describe it.
struct Described {
    role: &'static str,
    /// The names of each flag, such as `-a` and `--all`.
    flags: Vec<Vec<String>>,
    /// The text of `--help`, with those of included tables.
    help: String,
    /// The flags that `--help` leaves out.
    left_out: BTreeSet<String>,
    page: String,
}

fn described() -> impl Iterator<Item = Described> {
    ROLES.into_iter().map(|(role, flags, left_out)| {
        let tables = || core::iter::successors(Some(flags), |flags| flags.more);
        let mut help: String = tables()
            .flat_map(|flags| flags.help)
            .map(|text| text.known())
            .collect();
        let rows = || tables().flat_map(|flags| flags.rows);
        if rows().any(|row| stack::has(row.flag)) {
            help += stack::MORE_HELP.known();
        }
        Described {
            role,
            flags: rows().map(names).collect(),
            help,
            left_out: flags_in(left_out),
            page: page(&format!("stowaway-{role}")),
        }
    })
}

/// Returns the man page `name`: of section 1 for programs of users, of section 8 for servers.
fn page(name: &str) -> String {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/image/man");
    let path = |section| format!("{dir}/{name}.{section}");
    let page = fs::read_to_string(path(1)).or_else(|_| fs::read_to_string(path(8)));
    page.unwrap_or_else(|why| panic!("man page {name}: {why}"))
}

/// Returns the names of a flag; operands have none, and `--` is none.
fn names(row: &Row) -> Vec<String> {
    let short = row.short.map(|letter| format!("-{}", char::from(letter)));
    let long = Some(row.long.known().to_owned()).filter(|name| name.len() > 2);
    short.into_iter().chain(long).collect()
}

/// Returns the words of a text that are flags.
fn flags_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| letter.is_whitespace() || "[]|,:;()".contains(letter));
    let flags = words.filter(|word| match word.strip_prefix("--") {
        Some(name) => !name.is_empty(),
        None => word.len() == 2 && word.starts_with('-'),
    });
    flags.map(str::to_owned).collect()
}

/// Returns the head and the text of each row of `--help`: `  -D, -i FILE<TAB>runs in the background`, and lines that continue it.
fn rows(help: &str) -> Vec<(String, String)> {
    let help = help.replace("\n\t\t\t", "\t");
    let rows = help.split("\n  ").skip(1);
    let rows = rows.filter(|row| !row.starts_with(' ')).map(|row| {
        let row = row.lines().next().unwrap_or_default();
        let end = [row.find('\t'), row.find("  ")].into_iter().flatten().min();
        let (head, text) = row.split_at(end.unwrap_or(row.len()));
        (head.to_owned(), text.trim().replace('\t', " "))
    });
    rows.collect()
}

/// Returns the flags in the rows of section OPTIONS, which mdoc writes as `.It Fl a , Fl -all`.
fn flags_of_page(page: &str) -> BTreeSet<String> {
    let options = page.split(".Sh OPTIONS\n").nth(1).unwrap_or_default();
    let options = options.split("\n.Sh ").next().unwrap_or_default();
    let rows = options.lines().filter(|line| line.starts_with(".It "));
    rows.flat_map(|row| row.split(" Fl ").skip(1))
        .filter_map(|flag| Some(format!("-{}", flag.split(' ').next()?)))
        .collect()
}

#[test]
fn man_pages_have_the_flags_of_the_code() {
    for Described {
        role, flags, page, ..
    } in described()
    {
        let known: BTreeSet<_> = flags.into_iter().flatten().collect();
        assert_eq!(flags_of_page(&page), known, "{role}");
    }
}

#[test]
fn help_has_the_flags_of_the_code() {
    for role in described() {
        let (name, listed) = (role.role, flags_in(&role.help));
        for names in role.flags.iter().filter(|names| !names.is_empty()) {
            let is_listed = names.iter().any(|name| listed.contains(name));
            let is_left_out = names.iter().any(|name| role.left_out.contains(name));
            assert!(is_listed != is_left_out, "{name} --help: {names:?}");
        }
        // The help of nfs is that of serve, too.
        let known = described()
            .filter(|other| other.role == name || name == "nfs" && other.role == "serve");
        let known: BTreeSet<_> = known.flat_map(|role| role.flags).flatten().collect();
        let in_rows = rows(&role.help).into_iter();
        let mut in_rows = in_rows.flat_map(|(head, _)| flags_in(&head));
        let unknown = in_rows.find(|flag| !known.contains(flag));
        assert_eq!(unknown, None, "{name} --help");
    }
}

#[test]
fn man_pages_have_the_texts_of_help() {
    for Described {
        role, help, page, ..
    } in described()
    {
        let lines = page.lines().filter(|line| !line.starts_with('.'));
        let page = lines.collect::<Vec<_>>().join(" ").replace("\\e", "\\");
        // The page begins a sentence with a capital and ends it with a full stop.
        let is_in_page = |text: &str| {
            let text = text.trim_end_matches([' ', ';', '.']);
            page.contains(text.get(1..).unwrap_or_default())
        };
        let is_said_at_length = |head: &str| {
            let mut words = head.split([' ', ',']);
            words.any(|word| SAID_AT_LENGTH.contains(&(role, word)))
        };
        let rows = rows(&help);
        for (head, text) in &rows {
            let mut same = rows.iter().filter(|(other, _)| other == head);
            assert!(
                same.any(|(_, text)| is_in_page(text)) || is_said_at_length(head),
                "{role} {head}: the man page lacks {text:?}"
            );
        }
    }
}

#[test]
fn man_page_of_the_program_lists_all_roles() {
    let page = page("stowaway");
    let rows = page.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    let listed: BTreeSet<_> = rows.flat_map(|row| row.split(" , ")).collect();
    let names = Role::NAMES.iter().flat_map(|names| names.split('|'));
    let names: BTreeSet<_> = names
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(listed, names);
}
