//! A man page in mdoc(7): head, synopsis and options generated from the tables, and the hand-written sections from `image/man`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

use super::tables::Tables;
use crate::build::workspace_root;

/// Flags that `--help` of a role leaves out, with the reason. The hand-written part of the man page documents them.
#[cfg(test)]
pub(super) const NOT_IN_HELP: &[(&str, &[&str], &str)] = &[
    (
        "serve",
        &["--one-process"],
        "for tests: one process, as on a bare machine",
    ),
    (
        "serve",
        &["--sftp"],
        "for machines: the boot argument sftp=ADDRESS:PORT",
    ),
    (
        "nfs",
        &[
            "-b", "-C", "-c", "-d", "-r", "-s", "-t", "-u", "-w", "--trace",
        ],
        "for scripts that start unfsd; --trace for developers",
    ),
    (
        "serve",
        &[
            "-b", "-C", "-c", "-d", "-r", "-s", "-t", "-u", "-w", "--trace",
        ],
        "those of nfs",
    ),
    ("http", &["-d", "-s"], "those of nfs"),
    (
        "serve",
        &[
            "--http",
            "--http-root",
            "--access-log",
            "--metrics",
            "--metrics-from",
        ],
        "in the help of http",
    ),
    (
        "sftp-server",
        &["-c"],
        "for sshd and dropbear, which start a login shell with it",
    ),
    (
        "resolve",
        &["-v", "--verbose"],
        "without effect, for scripts that use avahi-resolve",
    ),
];

/// Longest line of running text (bytes): mandoc reports those above 80.
const LINE_BYTES_MAX: usize = 78;

/// A row of a `--help` text: `  -n PORT    NFS on this port (2049)`.
struct Row {
    /// The names of the flag, in the order of the row.
    flags: Vec<String>,
    /// All other words of the row's head: the flag's argument, or a value such as a form of `--net`.
    argument: String,
    text: String,
}

/// A parsed `--help` text.
struct Help {
    rows: Vec<Row>,
    /// The usage lines (synopsis), without the word `stowaway`.
    usage: Vec<String>,
}

/// The hand-written part of a page: a file in `image/man`.
struct ManualPart {
    date: String,
    /// The one-line description (`.Nd`). None: the role's line in `stowaway --help` is used.
    title: Option<String>,
    /// mdoc rows for the flags that `--help` leaves out.
    options: String,
    /// All other sections, in the order of the file: name and text.
    sections: Vec<(String, String)>,
}

/// Makes the page `name`, such as `stowaway-nfs.8`, of a role.
pub(super) fn of_role(tables: &Tables, role: &str, name: &str, hand: &str) -> Result<String> {
    let module = tables.roles.iter().find(|known| known.names[0] == role);
    let module = &module.with_context(|| format!("no role {role}"))?.module;
    let hand = ManualPart::parse(hand)?;
    let help = Help::parse(tables.help(module));
    let summary = tables
        .modules
        .get(module)
        .map_or("", |module| &module.summary);
    let title = hand.title.clone().or_else(|| title_of(summary));
    let mut page = head(name, &hand.date, &title.context("no .Nd and no summary")?);
    page += ".Sh SYNOPSIS\n";
    let own = |line: &&String| line.split(' ').next() == Some(role);
    let mut usage: Vec<&String> = help.usage.iter().filter(own).collect();
    if usage.is_empty() {
        usage = help.usage.iter().collect();
    }
    if usage.is_empty() {
        _ = writeln!(page, ".Nm stowaway {role}");
    }
    for line in usage {
        synopsis(line, &mut page);
    }
    page += &hand.section("DESCRIPTION");
    let options = options(tables, module, help, &hand)?;
    if !options.is_empty() {
        _ = write!(page, ".Sh OPTIONS\n.Bl -tag -width Ds\n{options}.El\n");
    }
    if tables.with_included(module).contains(&"stack") {
        page += &links(tables);
    }
    page += &hand.sections_after_description();
    check_flags(&options, tables, module)?;
    Ok(page)
}

/// Makes the page of the whole program, which lists the roles.
pub(super) fn of_program(
    tables: &Tables,
    pages: &[(String, String)],
    hand: &str,
) -> Result<String> {
    let hand = ManualPart::parse(hand)?;
    let title = hand.title.clone().context("no .Nd")?;
    let mut page = head("stowaway.8", &hand.date, &title);
    page += ".Sh SYNOPSIS\n.Nm\n.Ar role\n.Op Ar argument ...\n.Nm\n.Fl -help\n.Nm\n.Fl -version\n";
    page += &hand.section("DESCRIPTION");
    page += ".Sh ROLES\n.Bl -tag -width Ds\n";
    for (role, title) in pages {
        let number = section_of(role);
        let names = tables.roles.iter().find(|known| known.names[0] == *role);
        let names = &names.context("no such role")?.names;
        _ = writeln!(page, ".It Cm {}", names.join(" , "));
        _ = write!(
            page,
            "{}See\n.Xr stowaway-{role} {number} .\n",
            text(&sentence(title))
        );
    }
    page += ".El\n";
    page += &hand.sections_after_description();
    Ok(page)
}

/// The manual section of a role's page: 1 (user commands) if `image/man` has such a page, else 8 (servers).
pub(super) fn section_of(role: &str) -> u8 {
    let user_page = workspace_root().join(format!("image/man/stowaway-{role}.1"));
    if user_page.exists() { 1 } else { 8 }
}

/// The one-line description (`.Nd`) in a page.
pub(super) fn title(page: &str) -> Option<&str> {
    page.lines().find_map(|line| line.strip_prefix(".Nd "))
}

/// All flags in the rows of an mdoc list, each with its dashes.
fn flags_in_rows(list: &str) -> Vec<String> {
    let rows = list.lines().filter_map(|line| line.strip_prefix(".It "));
    rows.flat_map(|row| {
        let words: Vec<&str> = row.split(' ').collect();
        let flags = words.windows(2).filter(|pair| pair[0] == "Fl");
        flags
            .map(|pair| format!("-{}", pair[1]))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// Returns true if a `--help` text contains the flag as a word, in a row or elsewhere.
#[cfg(test)]
pub(super) fn names_flag(help: &str, flag: &str) -> bool {
    words(help).any(|word| word == flag)
}

#[cfg(test)]
fn words(help: &str) -> impl Iterator<Item = &str> {
    help.split(|letter: char| letter.is_whitespace() || "[]|,:;()".contains(letter))
}

/// The flags in a `--help` text: the flags of its rows, and all other words that begin with two dashes.
#[cfg(test)]
pub(super) fn flags_of_help(help: &str) -> Vec<String> {
    let rows = Help::parse(help).rows;
    let mut flags: Vec<String> = rows.into_iter().flat_map(|row| row.flags).collect();
    for word in words(help) {
        if word.len() > 2 && word.starts_with("--") && !flags.iter().any(|flag| flag == word) {
            flags.push(word.to_owned());
        }
    }
    flags
}

impl Help {
    fn parse(help: &str) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let mut usage = Vec::new();
        // True while the lines belong to a row of the help text; a blank line ends the row.
        let mut is_in_row = false;
        for line in help.lines() {
            if let Some(words) = line.strip_prefix("stowaway ") {
                usage.push(words.to_owned());
                is_in_row = false;
            } else if let Some(row) = line.strip_prefix("  ").filter(|row| !row.starts_with(' ')) {
                let (head, text) = halves(row);
                rows.push(Row::new(head, text));
                is_in_row = true;
            } else if is_in_row
                && line.starts_with([' ', '\t'])
                && let Some(row) = rows.last_mut()
            {
                if !row.text.is_empty() {
                    row.text.push(' ');
                }
                row.text += line.trim();
            } else {
                is_in_row = false;
            }
        }
        Self { rows, usage }
    }
}

impl Row {
    fn new(head: &str, text: &str) -> Self {
        let mut row = Self {
            flags: Vec::new(),
            argument: String::new(),
            text: text.trim().to_owned(),
        };
        for word in head.split_whitespace() {
            if word.starts_with('-') {
                row.flags.push(word.trim_end_matches(',').to_owned());
            } else {
                if !row.argument.is_empty() {
                    row.argument.push(' ');
                }
                row.argument += word;
            }
        }
        row
    }
}

impl ManualPart {
    fn parse(file: &str) -> Result<Self> {
        let (head, rest) = file.split_once(".Sh ").context("no section")?;
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::to_owned)
        };
        let mut hand = Self {
            date: field(".Dd ")
                .context("the page begins with .Dd and the date of its last change")?,
            title: field(".Nd "),
            options: String::new(),
            sections: Vec::new(),
        };
        for section in rest.split("\n.Sh ") {
            let (name, text) = section.split_once('\n').context("an empty section")?;
            let text = format!("{}\n", text.trim_end());
            match name {
                "OPTIONS" => hand.options = text,
                _ => hand.sections.push((name.to_owned(), text)),
            }
        }
        Ok(hand)
    }

    fn section(&self, wanted: &str) -> String {
        let found = self.sections.iter().find(|(name, _)| name == wanted);
        found.map_or_else(String::new, |(name, text)| format!(".Sh {name}\n{text}"))
    }

    fn sections_after_description(&self) -> String {
        let rest = self
            .sections
            .iter()
            .filter(|(name, _)| name != "DESCRIPTION");
        rest.map(|(name, text)| format!(".Sh {name}\n{text}"))
            .collect()
    }
}

fn head(name: &str, date: &str, title: &str) -> String {
    let (name, number) = name.rsplit_once('.').unwrap_or((name, "8"));
    format!(
        ".\\\" Made by cargo xtask man from src/role and image/man/{name}.{number}.\n.Dd {date}\n.Dt {} {number}\n.Os\n\
         .Sh NAME\n.Nm {name}\n.Nd {title}\n",
        name.to_uppercase()
    )
}

/// The description after the tab in a role's line of `stowaway --help`, such as `  nfs --export DIR ...<TAB>serves directories`.
fn title_of(summary: &str) -> Option<String> {
    let (_, title) = halves(summary.trim());
    let title = title.trim().trim_end_matches('.');
    (!title.is_empty()).then(|| title.to_owned())
}

/// Splits a row into its head and its text, which a tab or two blanks separate.
fn halves(row: &str) -> (&str, &str) {
    let at = [row.find('\t'), row.find("  ")].into_iter().flatten().min();
    row.split_at_checked(at.unwrap_or(row.len()))
        .unwrap_or((row, ""))
}

/// The options of the hand-written part, then those of `--help`, then those of included modules. Lists each flag once.
fn options(tables: &Tables, module: &str, help: Help, hand: &ManualPart) -> Result<String> {
    let mut text = hand.options.clone();
    let mut listed = flags_in_rows(&hand.options);
    let mut variants = Vec::new();
    let included = tables.with_included(module);
    let mut rows = help.rows;
    for other in included {
        let Some(other) = tables.modules.get(other) else {
            bail!("no module {other}");
        };
        rows.extend(Help::parse(&other.help).rows);
        rows.extend(Help::parse(&other.more_help).rows);
    }
    let known = tables.flags(module);
    for row in &rows {
        let is_listed = |flag: &String| listed.contains(flag);
        // True if the row describes another form of the value of a flag that is already listed.
        let is_variant = row.flags.len() == 1 && row.argument.contains(':');
        let variant = (&row.flags, &row.argument);
        if row.flags.is_empty() || row.flags.iter().all(is_listed) && !is_variant {
            continue;
        }
        if variants.contains(&variant) {
            continue;
        }
        variants.push(variant);
        let mut all: Vec<String> = Vec::new();
        for flag in &row.flags {
            let known = known.iter().find(|known| known.names.contains(flag));
            let known =
                known.with_context(|| format!("{module}: --help has {flag}, the code has not"))?;
            for name in &known.names {
                if !all.contains(name) {
                    all.push(name.clone());
                }
            }
        }
        let macros: Vec<String> = all
            .iter()
            .map(|flag| format!("Fl {}", &flag[1..]))
            .collect();
        text += &format!(".It {}", macros.join(" , "));
        match row.argument.as_str() {
            "" => {}
            argument if argument.contains(' ') => _ = write!(text, " Ar \"{argument}\""),
            argument => _ = write!(text, " Ar {argument}"),
        }
        text += "\n";
        text += &self::text(&sentence(&row.text));
        listed.extend(all);
    }
    Ok(text)
}

/// The section NETWORK: the forms of `--net`, from the text of `--net help`.
fn links(tables: &Tables) -> String {
    let help = tables
        .modules
        .get("stack")
        .map_or("", |stack| &stack.more_help);
    let mut section = String::from(
        ".Sh NETWORK\nWith\n.Fl -net ,\nthe process has an IP stack and addresses of its own, over one of these links:\n\
         .Bl -tag -width Ds\n",
    );
    for row in Help::parse(help).rows {
        if row.flags.is_empty() {
            _ = write!(
                section,
                ".It Ar {}\n{}",
                row.argument,
                text(&sentence(&row.text))
            );
        }
    }
    section + ".El\n"
}

/// Fails unless the options of a page list exactly the flags of the code, each with all its names.
fn check_flags(options: &str, tables: &Tables, module: &str) -> Result<()> {
    let listed = flags_in_rows(options);
    let known = tables.flags(module);
    let known: Vec<&String> = known.iter().flat_map(|flag| &flag.names).collect();
    for flag in &known {
        if !listed.contains(*flag) {
            bail!(
                "{module}: the man page has no {flag}: write a row for --help, or one in image/man"
            );
        }
    }
    match listed.iter().find(|flag| !known.contains(flag)) {
        Some(flag) => bail!("{module}: the man page has {flag}, the code has not"),
        None => Ok(()),
    }
}

/// Appends one usage line as mdoc macros.
fn synopsis(line: &str, page: &mut String) {
    let mut words = line.split(' ');
    _ = writeln!(page, ".Nm stowaway {}", words.next().unwrap_or_default());
    let rest: Vec<&str> = words.collect();
    // A group in brackets becomes one `.Op` macro, even if it contains blanks.
    for part in grouped(&rest) {
        let (name, part) = match part
            .strip_prefix('[')
            .and_then(|part| part.strip_suffix(']'))
        {
            Some(inside) => (".Op ", inside.to_owned()),
            None => (".", part),
        };
        let word = match part.strip_prefix('-') {
            Some(flag) => format!("Fl {flag}"),
            None if part == "|" => {
                *page += "|\n";
                continue;
            }
            None => format!("Ar {part}"),
        };
        _ = writeln!(page, "{name}{word}");
    }
}

/// Joins the words inside one pair of brackets, such as `[-n` and `PORT]`, into one word.
fn grouped(words: &[&str]) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    let mut depth = 0;
    for word in words {
        if depth > 0
            && let Some(group) = groups.last_mut()
        {
            group.push(' ');
            *group += word;
        } else {
            groups.push((*word).to_owned());
        }
        depth += word.matches('[').count();
        depth -= word.matches(']').count().min(depth);
    }
    groups
}

/// Makes the text a sentence: a capital letter at the start and a full stop at the end.
fn sentence(text: &str) -> String {
    let mut text = text
        .trim_start_matches("... ")
        .trim_end_matches([' ', ';'])
        .to_owned();
    // The first word stays unchanged if it is a literal value, such as `kernel:`.
    let first = text.split([' ', ',']).next().unwrap_or_default();
    if first.chars().all(|letter| letter.is_ascii_lowercase())
        && let Some(letter) = text.get_mut(..1)
    {
        letter.make_ascii_uppercase();
    }
    if !text.ends_with(['.', ':']) {
        text.push('.');
    }
    text
}

/// Formats running text: each sentence starts a new line, and a word that mdoc would read as a macro is escaped.
fn text(text: &str) -> String {
    let mut lines = String::new();
    for sentence in text.replace('\\', "\\e").replace(". ", ".\n").lines() {
        let mut len = 0;
        for word in sentence.split_whitespace() {
            if len > 0 && len + word.len() < LINE_BYTES_MAX {
                lines.push(' ');
            } else {
                if len > 0 {
                    lines.push('\n');
                }
                if word.starts_with(['.', '\'']) {
                    lines += "\\&";
                }
                len = 0;
            }
            lines += word;
            len += word.len() + 1;
        }
        lines.push('\n');
    }
    lines
}
