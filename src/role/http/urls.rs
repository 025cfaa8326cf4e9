//! The lines about the listeners, with the URLs at which people open them.

use crate::event::{Events, LISTENING, Line};
use crate::exports::{Host, PUBLISHED, first};
use crate::net::OwnAddresses;
use crate::text::{Text, text};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

/// The port that URLs leave out.
const DEFAULT_PORT: u16 = 80;

/// The purpose of each listener, and the page to open there.
static LISTENERS: [(Text, Text); 3] = [
    (text!(" for HTTP"), text!("/")),
    (text!(" for /metrics and /status"), text!("/status")),
    (text!(" for iPXE"), text!("/boot.ipxe")),
];

/// The addresses in URLs for this host only.
const LOCAL: &OwnAddresses = &[Ipv4Addr::LOCALHOST.to_ipv6_mapped(), Ipv6Addr::UNSPECIFIED];

/// Reports the listeners `at` (files, figures, the menu of images; IPv4 is IPv4-mapped) with their URLs, and removes those that have one. A listener at
/// all addresses has a URL for each family of `own`, or else with the host's name; if `own` is `None`, the addresses are not known yet.
/// `is_local`: only this host may read the figures.
pub(super) fn report(
    at: &mut [Option<SocketAddrV6>; 3],
    own: Option<&OwnAddresses>,
    is_local: bool,
    events: &mut Events,
) {
    let owns = [own, if is_local { Some(LOCAL) } else { own }, own];
    for ((unreported, own), (purpose, page)) in at.iter_mut().zip(owns).zip(&LISTENERS) {
        let Some(at) = unreported else {
            continue;
        };
        let mut line = Line::default();
        line.socket(at).say(*purpose);
        let has_url = put_urls(&mut line, at, own, *page).is_some();
        events.report(LISTENING, line.bytes(), Text::NOTHING);
        if has_url {
            *unreported = None;
        }
    }
}

/// Appends the URLs of `page` at a listener, in parentheses. `None`: the addresses are not known yet.
fn put_urls(
    line: &mut Line,
    at: &SocketAddrV6,
    own: Option<&OwnAddresses>,
    page: Text,
) -> Option<()> {
    let is_bound = !at.ip().to_canonical().is_unspecified();
    // At an address of its own, a listener has one URL.
    let own @ [ipv4, ipv6] = if is_bound { LOCAL } else { own? };
    let is_only = put_url(line.text(" ("), at, first(own), page);
    let has_both = !ipv4.is_unspecified() && !ipv6.is_unspecified();
    if has_both && !is_only && at.ip().is_unspecified() {
        put_url(line.byte(b' '), at, *ipv6, page);
    }
    line.byte(b')');
    Some(())
}

/// Appends the URL of `page` at the host's address `own`. Returns true if the other addresses have the same URL.
fn put_url(line: &mut Line, at: &SocketAddrV6, own: Ipv6Addr, page: Text) -> bool {
    let host = Host::of(*at.ip(), own);
    let name = host.name.bytes();
    line.text("http://");
    match host.is_v6 {
        true => line.byte(b'[').raw(name).byte(b']'),
        false => line.raw(name),
    };
    if at.port() != DEFAULT_PORT || host.is_published {
        line.byte(b':').number(at.port().into());
    }
    line.say(page);
    if host.is_published {
        line.say(PUBLISHED);
    }
    host.is_published
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::testing::Sink;
    use std::boxed::Box;

    #[test]
    fn each_family_has_a_url_that_others_reach() {
        let sink = Sink::default();
        let mut events = Events::new(Box::new(sink.clone()));
        let none = "::";
        let (v4, v6) = ("::ffff:192.0.2.5", "2001:db8::5");
        #[rustfmt::skip]
        let rows = [
            ("[::]:80", Some([v4, v6]), false, "[::]:80 for HTTP (http://192.0.2.5/ http://[2001:db8::5]/)"),
            ("[::]:8080", Some([v4, none]), true, "[::]:8080 for HTTP (http://192.0.2.5:8080/)"),
            ("[::]:8080", Some([none, v6]), false, "[::]:8080 for HTTP (http://[2001:db8::5]:8080/)"),
            ("[::]:8080", None, false, "[::]:8080 for HTTP"),
            ("[::ffff:0.0.0.0]:80", Some([v4, v6]), false, "0.0.0.0:80 for HTTP (http://192.0.2.5/)"),
            ("[::ffff:192.0.2.7]:80", Some([v4, v6]), false, "192.0.2.7:80 for HTTP (http://192.0.2.7/)"),
            ("[2001:db8::7]:81", None, false, "[2001:db8::7]:81 for HTTP (http://[2001:db8::7]:81/)"),
        ];
        for (at, own, is_local, expected) in rows {
            let own = own.map(|own| own.map(|ip| ip.parse().unwrap()));
            let mut unreported = [Some(at.parse().unwrap()), None, None];
            report(&mut unreported, own.as_ref(), is_local, &mut events);
            let line = sink.lines().pop().unwrap();
            assert_eq!(line, format!("stowaway: listening on {expected}"));
            assert_eq!(unreported[0].is_some(), !line.contains("http:"), "{line}");
        }
        for (is_local, url) in [(true, "127.0.0.1"), (false, "192.0.2.5")] {
            let own = [v4, none].map(|ip| ip.parse().unwrap());
            let mut unreported = [None, Some("[::]:9100".parse().unwrap()), None];
            report(&mut unreported, Some(&own), is_local, &mut events);
            let line = sink.lines().pop().unwrap();
            let end = format!("/metrics and /status (http://{url}:9100/status)");
            assert!(line.ends_with(&end), "{line}");
        }
    }
}
