//! The task that serves SFTP at a TCP address, for `serve` and over the built-in network stack.

use super::super::args::{canonical, socket};
use super::super::{Console, FAILED, Fatal, complain, refuse, refuse_value};
use super::{NOT_TRUSTED, Options, handle_count, server, sessions};
use crate::config::{SFTP_CONNECTION_COUNT_MAX, TX_BYTES, TX_BYTES_MIN};
use crate::drive::platform::{self, network::Network};
use crate::drive::service::{Limits, Served, Server, Serving};
use crate::drive::{Task, World};
use crate::engine::sftp::{REQUEST_BYTES, Sessions};
use crate::event::{self, Line};
use crate::mem;
use crate::net::Signals;
use crate::stats;
use crate::sys::{self, Calls, FileRights, Needs};
use crate::text::{Text, text};
use crate::vfs::Tree;
use core::net::SocketAddrV6;

/// Serves all connections over the built-in network stack (`--net`), in one loop, until SIGTERM or SIGINT.
pub(super) fn serve_all(network: &Network, options: &Options) -> Result<(), Fatal> {
    let text = options.listen_text.to_bytes();
    let Some(at) = socket(text) else {
        let why = text!("address: ADDRESS:PORT, such as 0.0.0.0:2222; --net allows no socket file");
        return Err(refuse_value(b"--listen", text, why));
    };
    if !options.trusts {
        return Err(refuse(b"--listen", text, NOT_TRUSTED));
    }
    let tree = platform::tree();
    let task = task(options, at, tree)?;
    platform::serve(
        "sftp",
        network,
        &mut [task],
        tree,
        Console::leak(),
        Signals::RELOAD,
    )
}

/// Makes the task, not started yet, that serves SFTP at a TCP address, and adds its files to the tree. The task is never freed.
pub(in super::super) fn task(
    options: &Options,
    address: SocketAddrV6,
    tree: &mut Tree,
) -> Result<&'static mut dyn Task, Fatal> {
    let handle_count = handle_count(sys::raise_descriptor_limit());
    let (sftp, jail) = server(options, handle_count, tree)?;
    let served = Served::new(&Limits {
        protocol: stats::Family::Sftp,
        connection_count: SFTP_CONNECTION_COUNT_MAX,
        request_bytes: REQUEST_BYTES,
        request_count: SFTP_CONNECTION_COUNT_MAX,
        reply_bytes: mem::scaled(TX_BYTES_MIN, TX_BYTES),
        reply_count: SFTP_CONNECTION_COUNT_MAX,
        held_bytes: 0,
        held_count: 0,
        socket_count: 0,
        datagram_bytes: 0,
        times: None,
    });
    let sessions = sessions(SFTP_CONNECTION_COUNT_MAX, handle_count, options.level);
    Ok(mem::leak(Serving {
        server: Listener {
            address,
            // `serve` has no --listen: its process runs other tasks too.
            jail: jail.filter(|_| !options.listen_text.is_empty()),
        },
        served,
        service: Sessions::new(sftp, sessions),
    }))
}

/// The address of many sessions, and their directory.
struct Listener {
    /// Listening address; IPv4 is IPv4-mapped.
    address: SocketAddrV6,
    /// Descriptor of the directory to which the process is restricted, if any.
    jail: Option<i32>,
}

impl<'a> Server<Sessions<'a>> for Listener {
    fn start(
        &mut self,
        _: &mut Sessions<'a>,
        served: &mut Served,
        world: &mut World<'_>,
    ) -> Result<(), Fatal> {
        let mut line = Line::default();
        let Ok(at) = served.listen(world, canonical(&self.address), 0) else {
            let why = text!("the port is in use or needs root");
            let about = line.socket(&self.address).bytes();
            return Err(complain(FAILED, text!("cannot listen on"), about, why));
        };
        self.address.set_port(at.port());
        line.socket(&self.address).say(text!(
            " for SFTP without SSH: anyone who can connect has access"
        ));
        world
            .events
            .report(event::LISTENING, line.bytes(), Text::NOTHING);
        Ok(())
    }

    fn add_needs(&self, needs: &mut Needs) {
        needs.report_for("sftp-server");
        needs.add(Calls::SFTP);
        needs.add(Calls::STREAMS);
        match self.jail {
            Some(jail) => needs.add_opened(jail, FileRights::Change),
            None => needs.add_all_files(),
        }
    }
}
