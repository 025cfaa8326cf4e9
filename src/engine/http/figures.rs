//! The pages `/metrics` and `/status`: the figures of the server, for this host and for the networks of `--metrics-from`.
//!
//! They are found where no export has an object. To other peers they do not exist.

use super::Http;
use super::reply::say;
use crate::engine::Cx;
use crate::event::Line;
use crate::stats;
use crate::stats::forms::{Form, Place, Reader};
use crate::text::{Text, text};
use crate::time::Instant;
use crate::wire::Writer;
use crate::wire::exports::Hosts;
use crate::wire::http::{escape_html, write_date};
use core::net::Ipv6Addr;

/// Most networks of `--metrics-from`.
pub const NETWORK_COUNT_MAX: usize = 8;

/// The listener of files.
pub const FILES: u16 = 0;
/// The listener of the figures, if they have one of their own.
pub const FIGURES: u16 = 1;

/// The state of a server without faults.
pub(super) const FINE: &str = "ok";

const HEAD: Text = text!(include_str!("status.html"));

/// The peers that may read the figures.
#[derive(Debug, Default)]
pub struct Access {
    /// Networks beside the loopback addresses.
    pub networks: heapless::Vec<Hosts<'static>, NETWORK_COUNT_MAX>,
    /// The listener whose connections get them: [`FILES`] or [`FIGURES`].
    pub listener: u16,
}

/// A page, from the place at which it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    form: Form,
    place: Place,
}

impl Figures {
    pub(super) const fn kind(self) -> &'static str {
        match self.form {
            Form::Html => "text/html; charset=utf-8",
            _ => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Access {
    /// The page at this path for a peer at a listener, if it may read that.
    pub(super) fn find(&self, listener: u16, host: Ipv6Addr, path: &[u8]) -> Option<Figures> {
        let may_read = host.to_canonical().is_loopback()
            || self.networks.iter().any(|network| network.contains(host));
        if listener != self.listener || !may_read {
            return None;
        }
        let form = match path {
            // Nothing else is at the top of the listener.
            b"/" if listener == FIGURES => Form::Html,
            b"/metrics" => Form::Prometheus,
            b"/status" => Form::Html,
            _ => return None,
        };
        Some(Figures {
            form,
            place: Place::default(),
        })
    }
}

impl Http {
    /// Writes as much of a page as fits. Returns the place at which it goes on; `None`: it is complete.
    pub(super) fn write_figures(
        &mut self,
        cx: &mut Cx<'_>,
        figures: Figures,
        out: &mut Writer<'_>,
    ) -> Option<Figures> {
        let state = self.state(cx);
        let tree = &*cx.vfs;
        let exports = |number: usize| tree.state(number);
        let reader = Reader {
            sheets: cx.stats.sheets(),
            exports: &exports,
            nfs4: cx.stats.nfs4(),
            now_ms: cx.now.since(Instant::default()).as_ms(),
            wall_secs: self.wall_secs.unsigned_abs(),
        };
        let Figures { form, place } = figures;
        if form == Form::Html && place == Place::default() {
            let mut rates = Line::default();
            reader.put_rates(&mut rates);
            let (before, after): (&[u8], &[u8]) = match state {
                FINE => (b" <b>", b""),
                _ => (b" <b class=x>", b" fails"),
            };
            say(out, HEAD);
            escape_html(out, self.host);
            out.put(b"</title><h1>");
            escape_html(out, self.host);
            for part in [
                before,
                state.as_bytes(),
                after,
                b"</b></h1><p>stowaway ",
                stats::VERSION.as_bytes(),
                b", as of ",
                &write_date(self.wall_secs),
                b"<p>Last minute: ",
                rates.bytes(),
                b"<p><a href=/metrics>metrics</a><a href=/healthz>health</a>\n",
            ] {
                out.put(part);
            }
        }
        let (len, next) = reader.write(form, place, out.space());
        out.put_ahead(len);
        next.map(|place| Figures { form, place })
    }
}
