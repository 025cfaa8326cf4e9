//! The menu: an iPXE script of the ISO images in the exports with the option `isos`, made when it is asked for.
//!
//! `scan` finds the images and the ways to boot them; each way is an entry, with the memory that it needs. The script begins with
//! the server's address as iPXE sees it.

use super::scan::{Each, Out, Scan};
use crate::config::{MENU_AGE, MENU_BYTES_MAX, MENU_BYTES_MIN};
use crate::engine::Cx;
use crate::event::Line;
use crate::mem::{self, Ends as _, scaled};
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::{Client, Peer, Rules, Tree};
use crate::wire::Writer;
use crate::wire::exports::Hosts;
use core::net::{IpAddr, Ipv6Addr};

/// The names of the menu, by TFTP in any folder, by HTTP at the top.
pub const NAMES: [&[u8]; 2] = [b"boot.ipxe", b"autoexec.ipxe"];

/// The script before the entries, after the server's address was set.
const BEFORE: Text =
    text!("isset ${ip} || dhcp\n:menu\nmenu Boot from ${server}\nitem local Next boot device\n");
/// The script after the entries: it boots nothing if no key is pressed for a minute, or the image that was named.
const CHOOSE: Text = text!(
    "choose --default ${default} --timeout ${wait} image || goto local\ngoto ${image}\n:local\nexit\n:failed\nprompt Cannot boot it; press a key for the menu ||\ngoto menu\n"
);
/// Longest text of [`BEFORE`] and [`CHOOSE`] (bytes), and space for the number of the image.
const FRAME_BYTES: usize = 512;
/// Longest start of the script (bytes): the server's address, twice.
const HEAD_BYTES: usize = 256;
/// Longest name of this host and port in a request (bytes).
const HOST_BYTES_MAX: usize = 96;

/// The menu.
pub struct Menu {
    /// The script after its start. While it is made, the commands of the entries are behind the first quarter.
    body: &'static mut [u8],
    body_len: usize,
    made_at: Instant,
    /// The peer for which it was made.
    made_for: Ipv6Addr,
    /// True if the peer may read an export with the option `isos`.
    is_offered: bool,
    /// True if not every host may read all of the images.
    is_restricted: bool,
    /// The port of HTTP.
    http_port: u16,
    scan: Scan,
}

impl Menu {
    /// An empty menu. `default` names the image that is booted after a while; empty: none is. `has_nfs`: NFS is served, too.
    pub fn new(http_port: u16, default: &'static [u8], has_nfs: bool) -> Self {
        Self {
            body: mem::bytes(scaled(MENU_BYTES_MIN, MENU_BYTES_MAX)),
            body_len: 0,
            made_at: Instant::from_ms(0),
            made_for: Ipv6Addr::UNSPECIFIED,
            is_offered: false,
            is_restricted: true,
            http_port,
            scan: Scan::new(default, has_nfs),
        }
    }

    /// Sets whether the export is the path `/` of HTTP.
    pub const fn set_root(&mut self, is_root: bool) {
        self.scan.is_root = is_root;
    }

    /// Makes the menu for the peer, unless it was just made.
    pub fn refresh(&mut self, cx: &mut Cx<'_>) {
        let peer = cx.peer;
        let is_own = !self.is_restricted || self.made_for == peer.address;
        if !is_own || cx.now.since(self.made_at) >= MENU_AGE {
            self.made_at = cx.now;
            self.fill(cx.vfs, &peer, &mut |_, _, _, _| ());
        }
    }

    /// Makes the menu of the images that a peer may read. `each` gets every way.
    pub fn fill(&mut self, tree: &mut Tree, peer: &Peer, each: Each<'_>) {
        (self.made_for, self.is_restricted, self.is_offered) = (peer.address, false, false);
        let quarter = self.body.len() / 4;
        let (items, commands) = self.body.split_at_mut(quarter);
        let space = quarter - FRAME_BYTES;
        let mut out = Out::new(items.head_mut(space), commands, each);
        self.scan.begin(Peer { port: 0, ..*peer });
        out.say(BEFORE);
        for number in 0..tree.exports().len() {
            let Some(export) = tree.exports().get(number) else {
                break;
            };
            if !export.common_rules().has(Rules::ISOS) {
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
        let mut frame = Line::default();
        frame.text("set default ");
        match self.scan.chosen {
            0 => frame.text("local\nset wait 60000\n"),
            chosen => frame.number(chosen).text("\nset wait 10000\n"),
        };
        let mut end = Writer::new(self.body.tail_mut(items_len).head_mut(FRAME_BYTES));
        end.put(frame.bytes());
        end.put(CHOOSE.decode(&mut [0; FRAME_BYTES]));
        let at = items_len + end.written().unwrap_or(0);
        self.body.copy_within(quarter..quarter + commands_len, at);
        self.body_len = at + commands_len;
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

    /// Length of the script for iPXE that asked this host by HTTP (bytes).
    pub fn len_for(&self, host: &[u8]) -> usize {
        let mut head = [0; HEAD_BYTES];
        let mut out = Writer::new(&mut head);
        self.write_start(host, &mut out);
        out.written().unwrap_or(0) + self.body_len
    }

    /// Length of the script for iPXE that reaches the server at `address` (bytes).
    pub fn len(&self, address: Option<IpAddr>) -> usize {
        self.head(address, &mut [0; _]).len() + self.body_len
    }

    /// Copies the script from `offset` on, as far as it fits. Returns the number of bytes.
    pub fn read(&self, address: Option<IpAddr>, offset: usize, out: &mut [u8]) -> usize {
        let mut buffer = [0; _];
        let head = self.head(address, &mut buffer);
        let body = self.body.head(self.body_len);
        let parts = [
            head.tail(offset),
            body.tail(offset.saturating_sub(head.len())),
        ];
        let mut writer = Writer::new(out);
        for part in parts {
            let len = part.len().min(writer.space().len());
            writer.put(part.head(len));
        }
        writer.position()
    }

    /// Writes the script for iPXE that asked this host by HTTP: a name or an address, and perhaps a port.
    pub fn write(&self, host: &[u8], out: &mut Writer<'_>) {
        self.write_start(host, out);
        out.put(self.body.head(self.body_len));
    }

    fn write_start(&self, host: &[u8], out: &mut Writer<'_>) {
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
