//! The file `assign`: the script that each machine gets, and the lines that are refused.

use super::{READY_MAX, serve};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};
use xtask::machines::iso::{ROCK_RIDGE, write_image};
use xtask::machines::server::{Namespace, public_dir, root_for};
use xtask::setup;

/// Longest time until a machine has its script, of 10,000 lines.
const SCRIPT_MAX: Duration = Duration::from_secs(1);

const LINES: &str = "# machines
52:54:00:00:00:01 one.iso console=ttyS0  x=${mac} # the first
52-54-00-00-00-02\ttools/two.iso
52:54:00:00:00:* three.iso
52:54:00:00:01:0[1-4] local
52:54:00:00:00:zz one.iso
52:54:00:00:02:01 one.iso
* local
";

/// The query of a machine, and the commands before the menu.
#[rustfmt::skip]
const ROWS: [(&str, &[&str]); 8] = [
    ("", &["isset ${ip} || dhcp", "chain --replace --autofree ${http}/boot.ipxe?mac=${mac:hexhyp} ||"]),
    ("?mac=52-54-00-00-00-01", &["echo assign, line 2: one.iso", "set more console=ttyS0  x=${mac}", "goto 1"]),
    ("?mac=52:54:00:00:00:02", &["echo assign, line 3: tools/two.iso", "set more ", "goto 2"]),
    ("?mac=52-54-00-00-00-03", &["echo assign, line 4: three.iso is not in the menu", "set more ", "goto menu"]),
    ("?mac=52-54-00-00-01-04", &["echo assign, line 5: local", "set more ", "goto local"]),
    // After the refused line, addresses count, and wildcards do not.
    ("?mac=52-54-00-00-02-01", &["echo assign, line 7: one.iso", "set more ", "goto 1"]),
    ("?mac=52-54-00-00-09-01", &[]),
    ("?mac=${mac}", &[]),
];

/// Each machine gets its script, also when the file has changed. Refused lines are reported at the start, and by SIGHUP.
#[test]
fn machines_get_what_is_assigned() -> Result<()> {
    if !root_for("port 69") {
        return Ok(());
    }
    setup::install_packages(&["xorriso", "curl", "iproute2"])?;
    let directory = public_dir()?;
    let root = directory.path();
    let tree = tempfile::tempdir()?;
    fs::write(tree.path().join("README"), "x")?;
    fs::create_dir(root.join("tools"))?;
    for image in ["one.iso", "tools/two.iso"] {
        write_image(ROCK_RIDGE[0], tree.path(), &root.join(image))?;
    }
    let file = root.join("assign");
    fs::write(&file, LINES)?;
    let host = Namespace::new()?;
    let server = serve(&host, root, &["--interface", "lo", "--http", "8000"])?;
    let refused = format!("refused: {}:6:16: write a MAC address", file.display());
    server.wait_for_line(&refused, READY_MAX)?;
    let get = |query: &str| -> Result<Vec<String>> {
        let url = format!("http://127.0.0.1:8000/boot.ipxe{query}");
        let fetched = host.command("curl").args(["-sfg", &url]).output()?;
        let script = String::from_utf8(fetched.stdout)?;
        // Before them is the server's address, after them the menu, which begins with `isset`, too.
        let lines: Vec<_> = script.lines().skip(3).map(str::to_owned).collect();
        let menu = lines.iter().rposition(|line| line.starts_with("isset"));
        Ok(lines[..menu.context("no menu")?].to_vec())
    };
    for (query, expect) in ROWS {
        let found = get(query)?;
        ensure!(found == expect, "{query}: {found:#?}");
    }
    let mut lines = String::new();
    for number in 0..10_000 {
        writeln!(
            lines,
            "52:54:01:00:{:02x}:{:02x} one.iso x",
            number / 256,
            number % 256
        )?;
    }
    fs::write(&file, lines + "oops\n52:54:00:00:00:01 tools/two.iso\n")?;
    let began = Instant::now();
    let found = get("?mac=52-54-00-00-00-01")?;
    ensure!(
        found[0] == "echo assign, line 10002: tools/two.iso",
        "{found:#?}"
    );
    ensure!(began.elapsed() < SCRIPT_MAX, "{:?}", began.elapsed());
    let refused = format!("refused: {}:10001:1: ", file.display());
    server.wait_for_line(&refused, READY_MAX)?;
    fs::write(&file, "52:54:00:00:00:01 one\n")?;
    server.signal(Signal::SIGHUP)?;
    let refused = format!(
        "refused: {}:1:19: write the name of an image",
        file.display()
    );
    server.wait_for_line(&refused, READY_MAX)?;
    fs::remove_file(&file)?;
    ensure!(get("")?.is_empty(), "an old file counts");
    Ok(())
}
