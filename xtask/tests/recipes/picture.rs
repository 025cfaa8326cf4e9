//! The terminal picture of README.md, `image/terminal.svg`: drawn from a run with a guest as client, and compared with the file.

use super::{LISTENING, Recipe};
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::build::workspace_root;
use xtask::machines::qemu::Guest;
use xtask::setup::run_captured;

/// The commands of the client.
const CLIENT: [&str; 3] = [
    "mount -t nfs -o nolock 192.0.2.1:/srv /mnt",
    "ls /mnt",
    "stowaway browse -4 -rt _nfs._tcp",
];
const WIDTH_MAX: usize = 100;
/// Width of a character and height of a line, in pixels.
const CELL: (usize, usize) = (8, 18);
const MARGIN: usize = 16;

/// Draws the picture with `guest` on a TAP interface that is configured as in the recipe `tap`, and compares it with the file, apart
/// from the order of lines (of two processes) and from what the sandbox of this kernel can do.
pub fn ensure_current(directory: &Path, guest: &mut Guest) -> Result<()> {
    for name in ["debian.iso", "photos", "backup"] {
        fs::create_dir(Path::new("/srv").join(name))?;
    }
    // The guest has no stowaway. `ls` does not show this copy.
    run_captured(Command::new("cp").args(["/usr/sbin/stowaway", "/srv/.stowaway"]))?;
    let recipe = Recipe::load("fleet-host")?;
    let mut lines = prompt("box", recipe.text().trim_end());
    let mut server = recipe.start(directory)?;
    server.wait_for(LISTENING)?;
    server.wait_for("announced box.local")?;
    lines.extend(server.output()?.lines().map(str::to_owned));
    for command in CLIENT {
        lines.extend(prompt("client", command));
        lines.extend(guest.run_ok(command)?.lines().map(str::to_owned));
        if command.starts_with("mount") {
            guest.run_ok("cp /mnt/.stowaway /bin/stowaway")?;
        }
    }
    server.stop()?;
    let (drawn, root) = (svg(&lines), workspace_root());
    let kept = fs::read_to_string(root.join("image/terminal.svg")).unwrap_or_default();
    if comparable(&kept) != comparable(&drawn) {
        fs::write(root.join("target/terminal.svg"), &drawn)?;
    }
    ensure!(
        comparable(&kept) == comparable(&drawn),
        "image/terminal.svg differs from the run: cp target/terminal.svg image/\n{}",
        lines.join("\n")
    );
    Ok(())
}

/// A command after its prompt, with an empty line before.
fn prompt(host: &str, command: &str) -> Vec<String> {
    vec![String::new(), format!("{host}# {command}")]
}

/// Draws lines of text as a terminal shows them.
fn svg(lines: &[String]) -> String {
    let lines = lines.get(1..).unwrap_or_default();
    let columns = lines.iter().map(|line| line.chars().count()).max();
    let width = columns.unwrap_or_default().min(WIDTH_MAX) * CELL.0 + 2 * MARGIN;
    let height = lines.len() * CELL.1 + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\"\n    \
         font-family=\"monospace\" font-size=\"13\" fill=\"#d8dee9\" xml:space=\"preserve\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#20242c\"/>\n"
    );
    for (index, line) in lines.iter().enumerate() {
        let y = MARGIN + (index + 1) * CELL.1 - 5;
        let text = line.replace('&', "&amp;").replace('<', "&lt;");
        let is_command = ["box# ", "client# "]
            .iter()
            .any(|prompt| line.starts_with(prompt));
        let colour = if is_command { " fill=\"#a3be8c\"" } else { "" };
        svg += &format!("<text x=\"{MARGIN}\" y=\"{y}\"{colour}>{text}</text>\n");
    }
    svg + "</svg>\n"
}

/// The lines of text in a picture, sorted, without what depends on the kernel.
fn comparable(svg: &str) -> Vec<&str> {
    let texts = svg.lines().filter_map(|line| {
        let (_, text) = line.strip_suffix("</text>")?.split_once('>')?;
        Some(text)
    });
    let mut lines: Vec<_> = texts
        .map(|text| {
            text.split_once("sandbox: ")
                .map_or(text, |(start, _)| start)
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[test]
fn picture_escapes_text_and_ignores_order() {
    let of = |lines: &[&str]| {
        svg(&lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>())
    };
    let (one, other) = (of(&["", "box# a", "b <&"]), of(&["", "b <&", "box# a"]));
    assert!(one.contains("fill=\"#a3be8c\">box# a</text>") && one.contains(">b &lt;&amp;</text>"));
    assert_eq!(comparable(&one), comparable(&other));
    assert_ne!(comparable(&one), comparable(&of(&["", "box# a"])));
}
