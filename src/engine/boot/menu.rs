//! The menu: an iPXE script of the ISO images in the exports with the option `isos`, made when it is asked for.
//!
//! `scan` finds the images and the ways to boot them; each way is an entry, with the memory that it needs. The script begins with
//! the server's address as iPXE sees it. With a file `assign` (`assign`), iPXE asks again with its MAC address, and the image of the
//! machine boots without the menu.

use super::assign::{self, LOCAL, Row};
use super::groups::{self, paths};
use super::machines::Machines;
pub use super::scan::Wishes;
use super::scan::{Each, Out, Scan};
use crate::config::{ASSIGN_LINE_BYTES, MENU_AGE, MENU_BYTES_MAX, MENU_BYTES_MIN};
use crate::engine::Cx;
use crate::event::{Events, Line};
use crate::mem::{self, Ends as _, scaled};
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::walk::{below, without_slashes};
use crate::vfs::{Client, FsError, FsResult, Peer, Tree};
use crate::wire::Writer;
use crate::wire::exports::Hosts;
use core::net::{IpAddr, Ipv6Addr};

/// The names of the menu, by TFTP in any folder, by HTTP at the top.
pub const NAMES: [&[u8]; 2] = [b"boot.ipxe", b"autoexec.ipxe"];

/// The start of the script, after the server's address was set.
const FIRST: &[u8] = b"isset ${ip} || dhcp\ngoto menu\n";
/// The start of the menu, after the commands of the entries.
const BEFORE: Text = text!(":menu\nmenu Boot from ${server}\nitem local Next boot device\n");
/// The script after the entries: it boots nothing if no key is pressed for a minute, or the image that was named.
const CHOOSE: Text = text!(
    "choose --default ${default} --timeout ${wait} image || goto local\ngoto ${image}\n:local\nexit\n:failed\nprompt Cannot boot it; press a key for the menu ||\ngoto menu\n"
);
/// The commands before the menu if images are assigned to machines.
const ASK: Text = text!(
    "isset ${ip} || dhcp\nchain --replace --autofree ${http}/boot.ipxe?mac=${mac:hexhyp} ||\n"
);
/// The commands before the menu, for iPXE with one MAC address: those that boot its image, or ask for it.
pub type Start = heapless::Vec<u8, { ASSIGN_LINE_BYTES + 128 }>;
/// Longest text of [`BEFORE`] and [`CHOOSE`] (bytes), and space for the number of the image.
const FRAME_BYTES: usize = 512;
/// Longest start of the script (bytes): the server's address, twice.
const HEAD_BYTES: usize = 256;
/// Longest name of this host and port in a request (bytes).
const HOST_BYTES_MAX: usize = 96;

/// The menu.
pub struct Menu {
    /// The script after its start: the commands of the entries, at most a half, then the menu. While it is made, the last quarter has
    /// the items.
    body: &'static mut [u8],
    body_len: usize,
    made_at: Instant,
    /// The peer for which it was made.
    made_for: Ipv6Addr,
    /// True if the peer may read an export with the option `isos`.
    is_offered: bool,
    /// True if not every host may read all of the images.
    is_restricted: bool,
    /// The state of the files that assign images to machines; 0: there is none.
    stamp: u64,
    /// The port of HTTP.
    http_port: u16,
    scan: Scan,
}

impl Menu {
    /// An empty menu. `has_nfs`: NFS is served, too.
    pub fn new(http_port: u16, wishes: Wishes, has_nfs: bool) -> Self {
        Self {
            body: mem::bytes(scaled(MENU_BYTES_MIN, MENU_BYTES_MAX)),
            body_len: 0,
            made_at: Instant::from_ms(0),
            made_for: Ipv6Addr::UNSPECIFIED,
            is_offered: false,
            is_restricted: true,
            stamp: 0,
            http_port,
            scan: Scan::new(wishes, has_nfs),
        }
    }

    /// Sets whether the export is the path `/` of HTTP.
    pub const fn set_root(&mut self, is_root: bool) {
        self.scan.is_root = is_root;
    }

    /// Makes the menu for the peer, unless it was just made. If the assigned images have changed, that is reported once for all menus
    /// of these machines.
    ///
    /// # Errors
    /// Those that stop a call.
    pub fn refresh(&mut self, cx: &mut Cx<'_>, machines: Option<&Machines>) -> FsResult<()> {
        let peer = cx.peer;
        assign::await_disks(cx.vfs, &peer)?;
        let is_own = !self.is_restricted || self.made_for == peer.address;
        if !is_own || cx.now.since(self.made_at) >= MENU_AGE {
            self.made_at = cx.now;
            self.fill(cx.vfs, &peer, &mut |_, _, _, _| ());
        }
        self.stamp = assign::stamp(cx.vfs, &peer);
        if let Some(machines) = machines
            && self.stamp != 0
            && machines.assigned.replace(self.stamp) != self.stamp
        {
            assign::report(cx.vfs, &peer, cx.events);
        }
        Ok(())
    }

    /// Reports the assigned images, as any host may read them.
    pub fn report_assigned(&self, tree: &mut Tree, machines: &Machines, events: &mut Events) {
        machines.assigned.set(assign::stamp(tree, &Peer::NONE));
        assign::report(tree, &Peer::NONE, events);
    }

    /// The commands before the menu for iPXE that asked with this query: those that boot the image of its MAC address, or ask again
    /// with that.
    pub fn start(&self, cx: &mut Cx<'_>, query: &[u8]) -> Start {
        let mut start = Start::new();
        let Some(mac) = query.strip_prefix(b"mac=") else {
            self.put_ask(&mut start);
            return start;
        };
        let Some(mac) = assign::mac(mac).filter(|_| self.stamp != 0) else {
            return start;
        };
        let body = self.body.head(self.body_len);
        let mut assigned = None;
        let peer = Peer { port: 0, ..cx.peer };
        let read = assign::find(cx.vfs, &peer, &mac, &mut |line, row| {
            let mut about = Line::default();
            about.raw(&mac).byte(b' ').raw(row.image);
            let is_there = put_image(body, line, row, &mut start).is_some();
            assigned = Some((about, is_there));
        });
        match (read, assigned) {
            (Err(error @ (FsError::Io | FsError::Cut)), _) => cx.report_failure(error),
            (_, None) => {}
            (_, Some((about, true))) => {
                cx.report(text!("boots as assigned:"), about.bytes(), Text::NOTHING);
            }
            (_, Some((about, false))) => {
                let why = text!("the machine gets the menu; see the images at the start");
                let what = text!("is assigned an image that is not in the menu:").warn();
                cx.report(what, about.bytes(), why);
            }
        }
        start
    }

    /// Appends the command by which iPXE asks again with its MAC address, if images are assigned.
    fn put_ask(&self, start: &mut Start) {
        if self.stamp != 0 {
            let _ = start.extend_from_slice(ASK.decode(&mut [0; FRAME_BYTES]));
        }
    }

    /// Makes the menu of the images that a peer may read. `each` gets every way.
    pub fn fill(&mut self, tree: &mut Tree, peer: &Peer, each: Each<'_>) {
        (self.made_for, self.is_restricted, self.is_offered) = (peer.address, false, false);
        let quarter = self.body.len() / 4;
        let (script, items) = self.body.split_at_mut(3 * quarter);
        mem::copy_into(script, FIRST);
        let commands = script.tail_mut(FIRST.len()).head_mut(2 * quarter);
        let mut out = Out::new(items.head_mut(quarter - FRAME_BYTES), commands, each);
        self.scan.begin(Peer { port: 0, ..*peer });
        for number in 0..tree.exports().len() {
            let Some(export) = tree.exports().get(number) else {
                break;
            };
            if !assign::has_images(&export) {
                continue;
            }
            let is_open = |client: Client<'_>| client.hosts == Hosts::Everyone;
            self.is_restricted |= !export.clients().any(is_open);
            let peer = Peer { port: 0, ..*peer };
            if tree.rules(number, &peer).is_ok() {
                self.is_offered = true;
                self.scan.add_export(tree, number, &mut out);
            }
        }
        let [items_len, commands_len] = out.lens();
        let (commands, space) = script.tail_mut(FIRST.len()).split_at_mut(commands_len);
        let (items, commands) = (items.head(items_len), &*commands);
        let chosen = self.scan.chosen;
        let mut frame = Line::default();
        frame.text("set default ");
        match chosen {
            0 => frame.text("local\nset wait 60000\n"),
            chosen => frame.number(chosen).text("\nset wait 10000\n"),
        };
        let mut text = [0; FRAME_BYTES];
        let mut choose = Writer::new(&mut text);
        choose.put(frame.bytes());
        choose.put(CHOOSE.decode(&mut [0; FRAME_BYTES]));
        let choose = choose.since(0);
        let is_root = self.scan.is_root;
        let in_export = |path| {
            let mut all = tree.exports().iter().filter(|_| !is_root);
            let found = all.find_map(|export| below(export.path.to_bytes(), path));
            without_slashes(found.unwrap_or(path))
        };
        let mut out = Writer::new(space);
        out.put(BEFORE.decode(&mut [0; FRAME_BYTES]));
        let start = out.position();
        groups::write((items, commands), &in_export, (chosen, choose), &mut out);
        if out.written().is_none() {
            out.truncate(start);
            out.put(items);
            out.put(choose);
        }
        self.body_len = FIRST.len() + commands_len + out.written().unwrap_or(0);
    }

    /// Writes the start of the script for iPXE that reaches the server at `address`; `None`: unknown.
    fn head<'a>(&self, address: Option<IpAddr>, out: &'a mut [u8; HEAD_BYTES]) -> &'a [u8] {
        let mut line = Line::default();
        match address.map(|address| address.to_canonical()) {
            None => line.text("${next-server}"),
            Some(IpAddr::V4(address)) => line.address(address.to_ipv6_mapped()),
            Some(IpAddr::V6(address)) => line.byte(b'[').address(address).byte(b']'),
        };
        let mut host = Line::default();
        host.raw(line.bytes())
            .byte(b':')
            .number(self.http_port.into());
        let mut head = Writer::new(out);
        put_head(&mut head, line.bytes(), host.bytes());
        let len = head.written().unwrap_or(0);
        out.head(len)
    }

    /// Returns true if the peer may read an export with the option `isos`.
    pub const fn is_offered(&self) -> bool {
        self.is_offered
    }

    /// Length of the script with these commands before the menu, for iPXE that asked this host by HTTP (bytes).
    pub fn len_for(&self, host: &[u8], start: &Start) -> usize {
        let mut head = [0; HEAD_BYTES];
        let mut out = Writer::new(&mut head);
        self.write_head(host, &mut out);
        out.written().unwrap_or(0) + start.len() + self.body_len
    }

    /// Length of the script for iPXE that reaches the server at `address` (bytes).
    pub fn len(&self, address: Option<IpAddr>) -> usize {
        let mut start = Start::new();
        self.put_ask(&mut start);
        self.head(address, &mut [0; _]).len() + start.len() + self.body_len
    }

    /// Copies the script from `offset` on, as far as it fits. Returns the number of bytes.
    pub fn read(&self, address: Option<IpAddr>, offset: usize, out: &mut [u8]) -> usize {
        let mut buffer = [0; _];
        let head = self.head(address, &mut buffer);
        let mut start = Start::new();
        self.put_ask(&mut start);
        let (mut writer, mut offset) = (Writer::new(out), offset);
        for part in [head, &start, self.body.head(self.body_len)] {
            let rest = part.tail(offset);
            offset = offset.saturating_sub(part.len());
            let len = rest.len().min(writer.space().len());
            writer.put(rest.head(len));
        }
        writer.position()
    }

    /// Writes the script for iPXE that asked this host by HTTP: a name or an address, and perhaps a port.
    pub fn write(&self, host: &[u8], start: &Start, out: &mut Writer<'_>) {
        self.write_head(host, out);
        out.put(start);
        out.put(self.body.head(self.body_len));
    }

    fn write_head(&self, host: &[u8], out: &mut Writer<'_>) {
        // A longer one is none that DHCP gave.
        let host = host.head(host.len().min(HOST_BYTES_MAX));
        let colon = host.iter().rposition(|byte| *byte == b':');
        let name = match (host.last(), colon) {
            (Some(b']'), _) | (_, None) => host,
            (_, Some(colon)) => host.head(colon),
        };
        put_head(out, name, host);
    }
}

/// Writes the start of the script.
fn put_head(out: &mut Writer<'_>, name: &[u8], host: &[u8]) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]${}".contains(byte);
    let host_or_none = |host: &[u8]| host.iter().all(is_plain);
    for (before, value) in [
        (&b"#!ipxe\nset server "[..], name),
        (b"\nset http http://", host),
    ] {
        out.put(before);
        if host_or_none(value) {
            out.put(value);
        }
    }
    out.put(b"\n");
}

/// Appends the commands that boot the image of a line. `None`: the script `body` has no such image; the commands say so.
fn put_image(body: &[u8], line: u32, row: &Row<'_>, start: &mut Start) -> Option<()> {
    let (mut number, mut label) = (Line::default(), Line::default());
    number.number(line);
    let mut missing = &b""[..];
    match (row.image, find_entry(body, row.image)) {
        (LOCAL, _) => label.raw(LOCAL),
        (_, Some(entry)) => label.number(entry),
        _ => {
            missing = b" is not in the menu";
            label.text("menu")
        }
    };
    for part in [
        b"echo assign, line ",
        number.bytes(),
        b": ",
        row.image,
        missing,
        b"\nset more ",
        row.arguments,
        b"\ngoto ",
        label.bytes(),
        b"\n",
    ] {
        start.extend_from_slice(part).ok()?;
    }
    missing.is_empty().then_some(())
}

/// The number of the first entry of an image in a script.
fn find_entry(body: &[u8], image: &[u8]) -> Option<u32> {
    let is_it = |path: &[u8]| {
        path.windows(image.len()).enumerate().any(|(at, part)| {
            // A whole path, or names at its end.
            let begins = at == 0 || image.first() != Some(&b'/') && path.get(at - 1) == Some(&b'/');
            begins && part == image && matches!(path.get(at + image.len()), None | Some(b'/'))
        })
    };
    (1..)
        .zip(paths(body))
        .find_map(|(number, path)| is_it(path).then_some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_of_image_is_found_by_name_or_path() {
        let body = b"goto menu\n:1\nkernel ${http}/srv/isos/a.iso/live/vmlinuz url=${http}/srv/isos/b.iso\n:2\nkernel ${http}/srv/isos/a.iso/x\n:3\nsanboot --keep ${http}/srv/isos/x/b.iso || goto failed\n:failed\n";
        for (image, expect) in [
            ("a.iso", Some(1)),
            ("/srv/isos/a.iso", Some(1)),
            ("b.iso", Some(3)),
            ("x/b.iso", Some(3)),
            ("isos/x/b.iso", Some(3)),
            ("/x/b.iso", None),
            (".iso", None),
            ("c.iso", None),
        ] {
            assert_eq!(find_entry(body, image.as_bytes()), expect, "{image}");
        }
    }
}
