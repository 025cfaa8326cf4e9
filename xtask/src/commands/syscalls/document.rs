//! image/doc/syscalls.md.

use crate::machines::lockdown::calls::{Calls, Names, RoleCalls, wrapped};
use anyhow::Result;
use std::fmt::Write as _;

/// The numbers of calls, as lines of a table.
pub(super) fn counts(calls: &Calls) -> String {
    let mut text = String::from(COLUMNS);
    let all = RoleCalls {
        start: calls.union(|role| role.start.clone()),
        serving: calls.union(|role| role.serving.clone()),
        narrow: calls.union(|role| role.narrow.clone()),
        fallback: calls.union(|role| role.fallback.clone()),
    };
    let roles = calls
        .roles
        .iter()
        .map(|(role, calls)| (format!("`{role}`"), calls));
    for (role, of_role) in roles.chain([("all together".to_owned(), &all)]) {
        let is_thread = |name: &String| calls.threads.contains(name);
        let count = |names: &Names| names.iter().filter(|name| !is_thread(name)).count();
        // A call that one role issues at its start may be one that another issues later.
        let start: Names = of_role
            .start
            .difference(&of_role.serving)
            .cloned()
            .collect();
        let wide: Names = start.union(&of_role.serving).cloned().collect();
        text += &format!(
            "| {role} | {} | {} | {} | {} | {} |\n",
            count(&wide),
            count(&start),
            wide.len() - count(&wide),
            of_role.narrow.difference(&wide).count(),
            of_role.fallback.difference(&of_role.current()).count(),
        );
    }
    text
}

/// The document.
pub(super) fn text(calls: &Calls) -> Result<String> {
    let mut text = String::from(HEAD);
    text += &counts(calls);
    for (role, of_role) in &calls.roles {
        let (start, serving) = (&of_role.start, &of_role.serving);
        let is_thread = |name: &&String| calls.threads.contains(*name);
        let without = |names: &Names| -> Names {
            let names = names.iter().filter(|name| !is_thread(name));
            names.cloned().collect()
        };
        let threads = start.union(serving).filter(is_thread).cloned().collect();
        writeln!(text, "\n## {role}")?;
        for (title, names) in [
            ("At its start", &without(start)),
            ("While it serves", &without(serving)),
            ("Threads and processes", &threads),
            ("Only on 32-bit processors", &of_role.narrow),
            ("Fallbacks", &of_role.fallback),
        ] {
            if !names.is_empty() {
                write!(text, "\n{title}:\n\n{}", listed(names))?;
            }
        }
    }
    text += "\n## Other names and calls\n\nOn other processors, some calls have other names (`faccessat`, `dup3` and `pipe2`: ARM64):\n\n";
    text += "| x86-64 | i386 and ARM, ARM64 |\n|---|---|\n";
    for (name, others) in &calls.variants {
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        writeln!(text, "| `{name}` | `{}` |", others.join("`, `"))?;
    }
    text += "\nThe kernel makes processes issue these after a signal or a stop:\n\n";
    text += &listed(&calls.kernel);
    text += "\nrunc issues these, too, between the filter and the program's start, so `image/seccomp.json` allows them:\n\n";
    text += &listed(&calls.engine);
    Ok(text)
}

fn listed(names: &Names) -> String {
    wrapped(names.iter().map(String::as_str), "    ", 128)
        .lines()
        .map(|line| format!("    {}\n", line.trim_start()))
        .collect()
}

const COLUMNS: &str = "\
| role | calls | only at its start | threads and processes | only on 32 bits | fallbacks |
|---|--:|--:|--:|--:|--:|
";

const HEAD: &str = "\
# System calls

The system calls that each role issues, for those who write a sandbox. The lists are those of traces, on a current kernel and on
hosts that lack calls (`qemu/hosts`); `cargo xtask test syscalls` fails if a role issues an unlisted one in
its sessions, which have each flag of `--help`. This page,
`image/seccomp.json` for containers and `SystemCallFilter=` in `image/stowaway.service` are made from `qemu/hosts/minimal.toml`
by `cargo xtask syscalls`.

- At its start: only before a process installs its own filter, or in a process without one (`check`, `ls`, `cat`, `status`, `probe`,
  `install`, `uninstall`, `completion`, the supervisor of `serve`).
- While it serves: also later.
- Threads and processes: workers, loops, and the supervisor of `serve`; not counted among the calls.
- Fallbacks: only where the host lacks another call, or refuses it.

An unlisted call should fail with ENOSYS: each role then does without it, as on an older kernel. `init`, the microVMs and `--net`
are not included. `browse --exec` needs the calls of that command, too; `install` and `uninstall` need those of the shell that they
become.

";
