//! The target `frames`: sends frames to a network stack with a listener and a datagram socket.
//!
//! The first byte selects how the stack gets its address. Each step is three bytes (the time that passes, the frame's length) and
//! a frame; an empty frame makes the link fail (`Gone`). The link marks each frame's checksums as verified, so that the input need
//! not have valid ones.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::path::Path;
use std::rc::Rc;

use stowaway::net::link::{
    BATCH, ETHERNET_BYTES, FRAME_BYTES_MAX, Frame, Frames, HEAD_BYTES, Limits, Link,
};
use stowaway::net::smol::{Ip, Settings, Smol};
use stowaway::net::{
    Binding, Connections as _, Datagrams as _, Interest, NetError, NetResult, Ready, Signals,
    Socket, Streams as _, Token,
};
use stowaway::time::{Duration, Instant};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const MTU: usize = 1500;
/// Largest number of frames or events in one step; more mean that the stack loops forever.
const SENT_COUNT_MAX: usize = 5000;

/// Tokens of the listener, the accepted connection and the datagram socket.
const LISTENER: Token = Token::new(0, 1);
const CONNECTION: Token = Token::new(0, 2);
const DATAGRAMS: Token = Token::new(0, 3);

/// State of the link.
#[derive(Debug, Default)]
struct Wire {
    /// Frames for the stack to receive.
    arriving: VecDeque<Vec<u8>>,
    /// Frames that the stack sent in this step.
    sent: Vec<Vec<u8>>,
    /// End of this step.
    now: Instant,
}

/// A link on which the input's frames arrive.
#[derive(Clone, Debug, Default)]
struct End(Rc<RefCell<Wire>>);

impl Link for End {
    fn limits(&self) -> Limits {
        Limits {
            mtu: MTU,
            has_offloads: true,
            frame_bytes: FRAME_BYTES_MAX,
        }
    }

    fn recv(&mut self, buffer: &mut [u8], frames: &mut Frames) -> NetResult<()> {
        assert!(buffer.len() >= BATCH * FRAME_BYTES_MAX && frames.is_empty());
        let arrived = self.0.borrow_mut().arriving.pop_front();
        let frame = arrived.ok_or(NetError::WouldBlock)?;
        if frame.is_empty() {
            return Err(NetError::Gone);
        }
        buffer[..frame.len()].copy_from_slice(&frame);
        let frame = Frame {
            bytes: 0..frame.len(),
            is_verified: true,
        };
        frames.push(frame).expect("an empty list");
        Ok(())
    }

    fn send(&mut self, buffer: &mut [u8], segment: Option<NonZeroU16>) -> NetResult<()> {
        let frame = &buffer[HEAD_BYTES..];
        assert!(frame.len() >= ETHERNET_BYTES);
        assert!(frame.len() <= MTU + ETHERNET_BYTES || segment.is_some());
        assert_eq!(frame[6..12], MAC);
        let mut wire = self.0.borrow_mut();
        wire.sent.push(frame.to_vec());
        assert!(
            wire.sent.len() < SENT_COUNT_MAX,
            "the stack sends frames without end"
        );
        Ok(())
    }

    fn wait(&mut self, _: Instant, until: Instant, _: bool, _: &mut Signals) -> Instant {
        // The wait ends at `until`, or at the end of the step if that is earlier.
        self.0.borrow().now.min(until)
    }
}

/// A stack, its sockets and its link.
struct Bench {
    stack: Smol,
    listener: Socket,
    datagrams: Socket,
    end: End,
    now: Instant,
    buffer: Vec<u8>,
}

impl Bench {
    fn new(how: u8) -> Self {
        let now = Instant::from_ms(1000);
        let end = End::default();
        let ip = [
            Ip::Dhcp,
            Ip::LinkLocal,
            Ip::Static([192, 0, 2, 1].into(), 24),
            Ip::Static("2001:db8::1".parse().expect("an address"), 64),
        ][usize::from(how % 4)];
        let settings = Settings {
            mac: MAC,
            ip,
            gateway: None,
            name: b"box",
            seed: [how; 16],
            is_for_host: false,
        };
        // The link must live as long as the process, so it is leaked.
        let link = Box::leak(Box::new(end.clone()));
        let mut stack = Smol::new(link, &settings, now);
        let any = |port| ([0; 4], port).into();
        let listener = stack.listen(any(2049), LISTENER).expect("a listener");
        let binding = Binding::of(any(111));
        let datagrams = stack.bind(&binding, DATAGRAMS).expect("a socket");
        Self {
            stack,
            listener,
            datagrams,
            end,
            now,
            buffer: vec![0; 4096],
        }
    }

    /// Runs the stack until the time `until`, and serves its events.
    fn run(&mut self, until: Instant) {
        self.end.0.borrow_mut().sent.clear();
        self.end.0.borrow_mut().now = until;
        let mut ready = Ready::default();
        for turn in 0.. {
            assert!(
                turn < SENT_COUNT_MAX,
                "the stack reports events without end"
            );
            let end = self.stack.wait(self.now, until, &mut ready);
            self.now = end.max(self.now);
            let tokens = std::mem::take(&mut ready.tokens);
            if tokens.is_empty() {
                return;
            }
            for token in tokens {
                self.serve(token);
            }
        }
    }

    /// Accepts and closes connections, or echoes datagrams.
    fn serve(&mut self, token: Token) {
        let (stack, buffer) = (&mut self.stack, &mut self.buffer);
        match token {
            LISTENER => {
                while let Ok((socket, _)) = stack.accept(self.listener) {
                    // Send, receive once, close. Errors do not matter.
                    let _ = stack.send(socket, b"hello", false);
                    let _ = stack.watch(socket, CONNECTION, Interest::Input);
                    let _ = stack.recv(socket, buffer);
                    stack.close(socket);
                }
            }
            _ => {
                while let Ok(received) = stack.recv_from(self.datagrams, buffer) {
                    let answer = &buffer[..received.len];
                    let _ = stack.send_to(self.datagrams, received.to, received.from, answer);
                }
            }
        }
    }
}

/// Runs one input.
pub fn receive(input: &[u8]) {
    let Some((how, mut steps)) = input.split_first() else {
        return;
    };
    let mut bench = Bench::new(*how);
    while let [pause, after_pause @ ..] = steps {
        let Some((len, after_len)) = after_pause.split_first_chunk() else {
            break;
        };
        let len = usize::from(u16::from_le_bytes(*len)).min(after_len.len());
        let (frame, after_frame) = after_len.split_at(len);
        steps = after_frame;
        let arriving = frame[..len.min(MTU + ETHERNET_BYTES)].to_vec();
        bench.end.0.borrow_mut().arriving.push_back(arriving);
        // A step lasts from 0 to 65 s.
        let until = bench.now.after(Duration::from_ms(u32::from(*pause).pow(2)));
        bench.run(until);
    }
}

/// Writes first inputs to the directory in [`super::SEEDS`]: the frames that a stack itself sends, and a TCP SYN.
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(super::SEEDS) else {
        return;
    };
    for how in 0..4 {
        let mut bench = Bench::new(how);
        bench.run(Instant::from_ms(20_000));
        let mut steps = vec![how];
        let sent = bench.end.0.borrow().sent.clone();
        for mut frame in sent.into_iter().chain([SYN.to_vec()]) {
            frame[6..12].copy_from_slice(&PEER);
            steps.push(20);
            steps.extend_from_slice(&(frame.len() as u16).to_le_bytes());
            steps.extend_from_slice(&frame);
        }
        let path = Path::new(&dir).join(how.to_string());
        std::fs::write(&path, steps).expect("the directory in STOWAWAY_SEEDS is writable");
    }
}

/// A frame with a TCP SYN to 192.0.2.1, port 2049.
const SYN: [u8; 54] = *b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0\
    \x45\0\0\x28\0\0\x40\0\x40\x06\xb6\xcc\xc0\0\x02\x02\xc0\0\x02\x01\
    \x9c\x40\x08\x01\0\0\0\x07\0\0\0\0\x50\x02\x20\0\0\0\0\0";
