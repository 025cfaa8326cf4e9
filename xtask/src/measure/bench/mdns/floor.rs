//! What the kernel alone takes for a question and its answer: a thread that sends back whatever it receives.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Result, anyhow};
use nix::time::ClockId;

use super::link::{Link, RESPONDER};
use super::workload;
use crate::clients::dns::{GROUP, PORT, TYPE, query};
use crate::measure::bench::measure::{self, Cost};

/// Ends the thread.
const STOP: &[u8] = b"stop";

/// Asks so many times for what comes back as it is.
pub fn turn(link: &Link, count: usize) -> Result<Cost> {
    let socket = link.responder.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        socket.join_multicast_v4(&GROUP, &RESPONDER)?;
        Ok(socket)
    })?;
    let echo = std::thread::spawn(move || echo(&socket));
    let asker = link.stranger()?;
    let question = query(1, &[("box.local", TYPE::A)], true);
    let both = Cost::alone(|| {
        workload::batches(&asker, count, |asker, _| asker.send(&question), |_| Ok(()))
    });
    asker.send(STOP)?;
    let server = echo.join().map_err(|_| anyhow!("the echo panicked"))??;
    let both = both?;
    Ok(Cost {
        server,
        own: both.own - server,
        ..both
    })
}

/// Sends back until it is told to stop; the seconds of its CPU.
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
    Ok(measure::read(ClockId::CLOCK_THREAD_CPUTIME_ID)?.as_secs_f64())
}
