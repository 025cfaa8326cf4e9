//! The floor: CPU time of a thread that sends each datagram back, the least that the kernel charges a responder for a query and its
//! reply.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Result, anyhow};
use nix::time::ClockId;

use super::link::{Link, RESPONDER};
use super::workload;
use crate::clients::dns::{GROUP, PORT, TYPE, unicast_query};
use crate::measure::bench::measure::{self, Cost};

/// A datagram with this content ends the echo thread.
const STOP: &[u8] = b"stop";

/// Sends `count` queries to an echo on the responder's end of `link`.
pub fn turn(link: &Link, count: usize) -> Result<Cost> {
    let socket = link.responder.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        socket.join_multicast_v4(&GROUP, &RESPONDER)?;
        Ok(socket)
    })?;
    let echo = std::thread::spawn(move || echo(&socket));
    let querier = link.one_shot_querier()?;
    let question = unicast_query(1, &[("box.local", TYPE::A)]);
    let both = Cost::alone(|| {
        workload::batches(
            &querier,
            count,
            |querier, _| querier.send(&question),
            |_| Ok(()),
        )
    });
    querier.send(STOP)?;
    let server = echo.join().map_err(|_| anyhow!("the echo panicked"))??;
    let both = both?;
    Ok(Cost {
        server,
        generator: both.generator - server,
        ..both
    })
}

/// Sends datagrams back until [`STOP`] arrives. Returns the thread's CPU time in seconds.
fn echo(socket: &UdpSocket) -> Result<f64> {
    let mut buffer = [0; 9000];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        let datagram = &buffer[..len];
        if datagram == STOP {
            break;
        }
        socket.send_to(datagram, from)?;
    }
    Ok(measure::read_clock(ClockId::CLOCK_THREAD_CPUTIME_ID)?.as_secs_f64())
}
