//! Shell completions, made by clap_complete from the tables of `src/role`.
//!
//! Complete the roles, and the flags of each role with the text of `--help`. Do not complete values, except paths.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::Shell;

use super::page;
use super::tables::{Flag, Role, Tables};

/// One-line descriptions of the roles, by their names.
pub(super) type Titles = BTreeMap<String, String>;

/// The shells, with the file name under which the shell finds the completions of `stowaway`.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "stowaway.bash"),
    (Shell::Zsh, "_stowaway"),
    (Shell::Fish, "stowaway.fish"),
];

/// Writes one file for each shell to `dir`; returns their paths.
pub(super) fn write(tables: &Tables, titles: &Titles, dir: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut paths = Vec::new();
    for (shell, name) in SHELLS {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(tables, titles)?, "stowaway", &mut text);
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

/// The command line of stowaway, for clap.
fn command(tables: &Tables, titles: &Titles) -> Result<Command> {
    let mut command = Command::new("stowaway")
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .arg(switch("help").help("Print the roles"))
        .arg(switch("version").help("Print the version"));
    for role in &tables.roles {
        let name = role.names.first().context("a role without a name")?;
        let mut of_role = of_role(tables, role, name);
        if let Some(title) = titles.get(name) {
            of_role = of_role.about(title);
        }
        command = command.subcommand(of_role);
    }
    Ok(command)
}

fn switch(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn of_role(tables: &Tables, role: &Role, name: &str) -> Command {
    let mut command = Command::new(name.to_owned())
        .visible_aliases(role.names.iter().skip(1))
        .disable_help_flag(true)
        .arg(switch("help").help("Print the options of this role"));
    let mut known: Vec<&String> = Vec::new();
    for flag in tables.flags(&role.module) {
        // Two modules may declare the same flag; clap accepts each name once.
        if flag.names.iter().any(|name| known.contains(&name)) {
            continue;
        }
        known.extend(&flag.names);
        if let Some(arg) = argument(tables, role, flag) {
            command = command.arg(arg);
        }
    }
    let usage = page::usage(tables, &role.module).join(" ");
    if let Some(hint) = hint(&usage) {
        command = command.arg(Arg::new("operand").num_args(0..).value_hint(hint));
    }
    command
}

/// The flag for clap. None for a flag with a name that clap does not know, such as a single dash and several letters.
fn argument(tables: &Tables, role: &Role, flag: &Flag) -> Option<Arg> {
    let mut arg = Arg::new(flag.names.first()?.clone());
    for name in &flag.names {
        if let Some(long) = name.strip_prefix("--") {
            arg = arg.long(long.to_owned());
        } else {
            let mut letters = name.chars().skip(1);
            let letter = letters.next().filter(|_| letters.next().is_none())?;
            arg = arg.short(letter);
        }
    }
    let described = page::describe(tables, &role.module, &flag.names);
    let (argument, text) = described.map_or_else(Default::default, |row| (row.argument, row.text));
    // A row such as `--export DIR:isos` describes one value of the flag, not the flag.
    let is_of_value = argument
        .split_once(':')
        .is_some_and(|(_, value)| value.starts_with(|letter: char| letter.is_ascii_lowercase()));
    if !text.is_empty() && !is_of_value {
        arg = arg.help(text);
    }
    Some(if flag.has_value {
        let hint = hint(&argument).unwrap_or(ValueHint::Other);
        arg.action(ArgAction::Append).value_hint(hint)
    } else {
        arg.action(ArgAction::SetTrue)
    })
}

/// The kind of path that an argument of `--help` names, such as `DIR[:OPTION,...]`.
fn hint(argument: &str) -> Option<ValueHint> {
    let words: Vec<&str> = argument
        .split(|letter: char| !letter.is_ascii_uppercase())
        .collect();
    let kinds = [
        ("DIR", ValueHint::DirPath),
        ("FILE", ValueHint::FilePath),
        ("IMAGE", ValueHint::FilePath),
        ("PATH", ValueHint::AnyPath),
    ];
    let mut kinds = kinds.into_iter();
    kinds.find_map(|(word, hint)| words.contains(&word).then_some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::workspace_root;

    #[test]
    fn each_shell_completes_every_role_and_flag() -> Result<()> {
        let tables = Tables::read(&workspace_root())?;
        let dir = tempfile::tempdir()?;
        let paths = write(&tables, &Titles::new(), dir.path())?;
        assert_eq!(paths.len(), SHELLS.len());
        for path in paths {
            let text = fs::read_to_string(&path)?;
            for role in &tables.roles {
                let name = &role.names[0];
                assert!(text.contains(name), "{}: {name}", path.display());
                for name in tables
                    .flags(&role.module)
                    .iter()
                    .flat_map(|flag| &flag.names)
                {
                    // fish has the names without dashes.
                    let name = name.trim_start_matches('-');
                    assert!(text.contains(name), "{}: {name}", path.display());
                }
            }
        }
        Ok(())
    }

    #[test]
    fn paths_are_recognised_in_arguments() {
        assert_eq!(hint("DIR[:OPTION,...]"), Some(ValueHint::DirPath));
        assert_eq!(hint("FILE,"), Some(ValueHint::FilePath));
        assert_eq!(hint("DIRECTION"), None);
    }
}
