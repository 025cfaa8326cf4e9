//! The options of the built-in network stack (`--net`): the link for its frames, its addresses and host name.

use super::AnyFlag;
use super::args::{address, digits, host_label};
use super::flags::{Flags, ParsedFlag, flags};
use super::{Fatal, answer_help, refuse};
use crate::drive::platform::network::Network;
use crate::drive::platform::stack::{LinkKind, Stack};
use crate::mem::Ends as _;
use crate::mem::{c_str, parts};
use crate::net::smol::{Ip, is_network_or_broadcast};
use crate::sys;
use crate::text::{Text, text};
use crate::wire::label::cut;
use core::net::IpAddr;

flags! {
    pub(super) enum Flag of Stack {
        Net { long: text!("--net"), takes: Value(text!("network: kernel, packet:IFACE, tap:NAME or stream:PATH; see --net help")) },
        Ip { long: text!("--ip"), takes: Value(text!("address: a host's ADDRESS/PREFIX, such as 192.0.2.1/24 (not 192.0.2.0/24 or 192.0.2.255/24), dhcp or link-local")) },
        Gateway { long: text!("--gw"), takes: Value(text!("gateway: an IPv4 address, such as 192.0.2.254")) },
        Mac { long: text!("--mac"), takes: Value(text!("MAC address: a unicast one, such as 02:00:00:00:00:01")) },
        Name { long: text!("--name"), takes: Value(text!("host name: 1 to 63 bytes without dots")) },
    }
}

/// The table of these flags.
pub(super) const FLAGS: Option<&Flags> = Some(&Flags::of(Flag::ROWS, &[]));

/// The line on `--net` in the help of each role.
pub(super) const HELP: Text =
    text!("  --net LINK		use a built-in IP stack, not the host's; see --net help\n");
/// The text of `--net help`.
pub(super) const MORE_HELP: Text = text!(include_str!("stack.txt"));

/// Returns true if a flag is one of these.
pub(super) const fn has(flag: AnyFlag) -> bool {
    Flag::of(flag).is_some()
}

/// Sets the option of a flag. Returns `None` if the value is wrong.
pub(super) fn set(network: &mut Network, given: ParsedFlag) -> Option<()> {
    let (stack, value) = (&mut network.stack, given.value);
    let text = value.to_bytes();
    match Flag::of(given.flag)? {
        Flag::Net => {
            if answer_help(text, &[MORE_HELP]).is_err() {
                sys::exit(0);
            }
            let (word, name) = cut(text, b':');
            let kind = match word {
                b"kernel" if text == word => {
                    stack.link = None;
                    return Some(());
                }
                b"packet" => LinkKind::Packet,
                b"tap" => LinkKind::Tap,
                b"stream" => LinkKind::Stream,
                _ => return None,
            };
            let link = c_str(value.to_bytes_with_nul().tail(word.len() + 1));
            stack.link = (!name.is_empty()).then_some(Some((kind, link)))?;
        }
        Flag::Ip => {
            stack.ip = match text {
                b"dhcp" => Ip::Dhcp,
                b"link-local" => Ip::LinkLocal,
                _ => static_address(text)?,
            }
        }
        Flag::Gateway => match address(text)?.to_canonical() {
            IpAddr::V4(gateway) => stack.gateway = Some(gateway),
            IpAddr::V6(_) => return None,
        },
        Flag::Mac => stack.mac = Some(mac(text)?),
        Flag::Name => stack.name = host_label(text)?,
    }
    Some(())
}

/// Parses `ADDRESS/PREFIX`. The address must be a unicast one, and not of the loopback interface, a network or a broadcast address.
fn static_address(text: &[u8]) -> Option<Ip> {
    let mut sides = parts(text, b'/');
    let address = address(sides.next()?)?.to_canonical();
    let bits = digits(sides.rest?, 10)?;
    let (bits_max, is_broadcast) = match address {
        IpAddr::V4(address) => {
            let is_broadcast = is_network_or_broadcast(address, bits as u8);
            (32, is_broadcast || address.is_broadcast())
        }
        IpAddr::V6(_) => (128, false),
    };
    let is_one_host = !address.is_unspecified() && !address.is_multicast() && !is_broadcast;
    (is_one_host && !address.is_loopback() && bits <= bits_max)
        .then_some(Ip::Static(address, bits as u8))
}

/// Checks that no address is given to the kernel's network, which has addresses of its own.
///
/// # Errors
/// The exit status; the option is reported.
pub(super) fn check_link(network: &Network) -> Result<(), Fatal> {
    let stack = &network.stack;
    let option: &[u8] = match (stack.ip, stack.gateway, stack.mac) {
        (Ip::Dhcp, None, None) => return Ok(()),
        (Ip::Dhcp, None, Some(_)) => b"--mac",
        (Ip::Dhcp, Some(_), _) => b"--gw",
        _ => b"--ip",
    };
    if network.is_own() {
        return Ok(());
    }
    let why = text!("only with --net, which runs a stack of its own beside the host's");
    Err(refuse(option, b"", why))
}

/// Checks that the gateway is in the network of the static address.
///
/// # Errors
/// The exit status; the gateway is reported.
pub(super) fn check_gateway(stack: &Stack) -> Result<(), Fatal> {
    if let (Ip::Static(IpAddr::V4(own), prefix), Some(gateway)) = (stack.ip, stack.gateway)
        && (own.to_bits() ^ gateway.to_bits()).unbounded_shr(32 - u32::from(prefix)) != 0
    {
        let why = text!("the gateway is not in the network of --ip; correct one of the two");
        return Err(refuse(b"--gw", b"", why));
    }
    Ok(())
}

/// Parses a unicast MAC address: six bytes of two hexadecimal digits, separated by colons.
fn mac(text: &[u8]) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut bytes = parts(text, b':');
    for byte in &mut mac {
        let text = bytes.next().filter(|text| text.len() == 2)?;
        *byte = digits(text, 16)? as u8;
    }
    let is_one_host = mac[0] & 1 == 0 && mac != [0; 6];
    (is_one_host && bytes.rest.is_none()).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;
    use core::net::{Ipv4Addr, Ipv6Addr};

    fn parse(flag: Flag, value: &'static CStr) -> Option<Network> {
        let mut network = Network::default();
        let given = ParsedFlag {
            flag: AnyFlag::Stack(flag),
            value,
        };
        set(&mut network, given)?;
        Some(network)
    }

    #[test]
    fn net_option_is_kind_and_name() {
        let link = |value| parse(Flag::Net, value).map(|network| network.stack.link);
        assert_eq!(link(c"kernel"), Some(None));
        assert_eq!(
            link(c"packet:eth0"),
            Some(Some((LinkKind::Packet, c"eth0")))
        );
        assert_eq!(link(c"tap:tap0"), Some(Some((LinkKind::Tap, c"tap0"))));
        assert_eq!(
            link(c"stream:/run/a:b"),
            Some(Some((LinkKind::Stream, c"/run/a:b")))
        );
        for value in [c"", c"eth0", c"tap", c"tap:", c"kernel:x", c":x", c"tun:x"] {
            assert_eq!(link(value), None, "{value:?}");
        }
    }

    #[test]
    fn addresses_must_be_unicast() {
        let ip = |value| parse(Flag::Ip, value).map(|network| network.stack.ip);
        let v4 = |a, b, c, d| IpAddr::from(Ipv4Addr::new(a, b, c, d));
        let v6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        assert_eq!(ip(c"dhcp"), Some(Ip::Dhcp));
        assert_eq!(ip(c"link-local"), Some(Ip::LinkLocal));
        assert_eq!(ip(c"192.0.2.1/24"), Some(Ip::Static(v4(192, 0, 2, 1), 24)));
        assert_eq!(ip(c"2001:db8::1/64"), Some(Ip::Static(v6, 64)));
        // Networks of one or two addresses have no broadcast address.
        for bits in [31, 32] {
            let text = [c"192.0.2.0/31", c"192.0.2.0/32"][bits - 31];
            assert_eq!(ip(text), Some(Ip::Static(v4(192, 0, 2, 0), bits as u8)));
        }
        for value in [
            c"",
            c"192.0.2.1",
            c"192.0.2.1/33",
            c"192.0.2.1/",
            c"0.0.0.0/0",
            c"127.0.0.1/8",
            c"224.0.0.1/4",
            c"255.255.255.255/8",
            c"255.255.255.255/32",
            c"192.0.2.0/24",
            c"192.0.2.255/24",
            c"192.0.2.7/29",
            c"2001:db8::1/129",
            c"ff02::1/64",
            c"::/0",
        ] {
            assert_eq!(ip(value), None, "{value:?}");
        }
        let gateway = |value| parse(Flag::Gateway, value).map(|network| network.stack.gateway);
        assert_eq!(
            gateway(c"192.0.2.254"),
            Some(Some(Ipv4Addr::new(192, 0, 2, 254)))
        );
        assert_eq!(gateway(c"fe80::1"), None);
        let mac = |value| parse(Flag::Mac, value).and_then(|network| network.stack.mac);
        assert_eq!(mac(c"02:00:00:Aa:00:ff"), Some([2, 0, 0, 0xaa, 0, 0xff]));
        for value in [
            c"",
            c"01:00:00:00:00:01",
            c"00:00:00:00:00:00",
            c"02:00:00:00:00",
            c"02:00:00:00:00:01:02",
            c"2:0:0:0:0:1",
            c"02:00:00:00:00:0g",
        ] {
            assert_eq!(mac(value), None, "{value:?}");
        }
    }

    #[test]
    fn gateway_must_be_in_the_static_network() {
        let check = |ip, gateway: [u8; 4]| {
            let gateway = Some(gateway.into());
            check_gateway(&Stack {
                ip,
                gateway,
                ..Stack::default()
            })
        };
        let fixed = |bits| Ip::Static(Ipv4Addr::new(192, 0, 2, 1).into(), bits);
        for (ip, gateway, expect) in [
            (fixed(24), [192, 0, 2, 254], true),
            (fixed(24), [192, 0, 3, 254], false),
            (fixed(25), [192, 0, 2, 254], false),
            (fixed(31), [192, 0, 2, 0], true),
            (fixed(32), [192, 0, 2, 2], false),
            (fixed(0), [10, 0, 0, 1], true),
            (Ip::Dhcp, [10, 0, 0, 1], true),
            (
                Ip::Static(Ipv6Addr::LOCALHOST.into(), 64),
                [10, 0, 0, 1],
                true,
            ),
        ] {
            assert_eq!(check(ip, gateway).is_ok(), expect, "{ip:?} {gateway:?}");
        }
    }

    #[test]
    fn host_name_is_one_label() {
        let long = c"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
        for (name, expect) in [(c"box", true), (c"", false), (c"a.b", false), (long, false)] {
            let network = parse(Flag::Name, name);
            assert_eq!(network.is_some(), expect, "{name:?}");
        }
    }
}
