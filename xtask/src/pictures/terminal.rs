//! The terminal picture: a panel for each scene of a session. A line `## TITLE` begins a scene, and a line with a prompt is a
//! command, also over several lines that end with `\`.

use super::{escaped, head};

/// Prompts of the machines in the session.
pub const PROMPTS: [&str; 2] = ["box# ", "client# "];
/// Longest line in characters.
const COLUMNS: usize = 100;
/// Width of a character and height of a line, in pixels.
const CELL: (usize, usize) = (8, 18);
const MARGIN: usize = 14;
/// Height of a panel's title bar in pixels, and the distance between panels.
const BAR: usize = 26;
const GAP: usize = 10;
const TITLE: &str = "A terminal: stowaway serves a directory, a client mounts it, \
    stowaway lists an ISO image, and the same file boots as a microVM";

/// Draws a session.
pub fn draw(session: &str) -> String {
    let width = COLUMNS * CELL.0 + 2 * MARGIN;
    let (mut body, mut top) = (String::new(), 0);
    for scene in session.split("## ").skip(1) {
        let lines: Vec<&str> = scene.trim_end().lines().collect();
        let [title, lines @ ..] = &lines[..] else {
            continue;
        };
        let height = BAR + lines.len() * CELL.1 + MARGIN;
        body += &format!(
            "<rect x=\"0.5\" y=\"{top}.5\" width=\"{}\" height=\"{height}\" rx=\"8\" fill=\"#20242c\" stroke=\"#4c566a\"/>\n\
             <text x=\"{MARGIN}\" y=\"{}\" font-family=\"sans-serif\" font-weight=\"bold\" fill=\"#88c0d0\">{}</text>\n",
            width - 1,
            top + 18,
            escaped(title)
        );
        let mut is_command = false;
        for (index, line) in lines.iter().enumerate() {
            let is_start = PROMPTS.iter().any(|prompt| line.starts_with(prompt));
            let colour = if is_start || is_command {
                " fill=\"#a3be8c\""
            } else {
                ""
            };
            is_command = (is_start || is_command) && line.ends_with('\\');
            let y = top + BAR + (index + 1) * CELL.1 - 3;
            let text = escaped(line);
            body += &format!("<text x=\"{MARGIN}\" y=\"{y}\"{colour}>{text}</text>\n");
        }
        top += height + GAP;
    }
    format!(
        "{}<style>text{{white-space:pre}}</style>\n<g font-family=\"monospace\" font-size=\"13\" fill=\"#d8dee9\">\n{body}</g>\n</svg>\n",
        head([width, top.saturating_sub(GAP) + 1], TITLE)
    )
}

/// The lines of a session, sorted, without what depends on the machine: times, clocks, memory, and what the kernel's sandbox can do.
/// Lines of two processes come in any order.
pub fn comparable(session: &str) -> Vec<&str> {
    let mut lines: Vec<_> = session
        .lines()
        .filter(|line| !line.contains(" clock: "))
        .map(|line| line.split_once("] stowaway: ").map_or(line, |(_, it)| it))
        .map(|line| {
            let depends = ["sandbox: ", "operating system, in "];
            let cut = depends.iter().find_map(|part| line.split_once(part));
            cut.map_or(line, |(start, _)| start)
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_two_machines_are_equal() {
        let one = "[0000.005] stowaway: x\n[0000.006] stowaway: clock: 1 MHz\nstowaway: sandbox: mdns: a\nb\n";
        let other = "b\n[0000.015] stowaway: x\nstowaway: sandbox: mdns: c\n";
        assert_eq!(comparable(one), comparable(other));
        assert_ne!(comparable(one), comparable("b\n"));
    }
}
