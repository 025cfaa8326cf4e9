//! The connection to one NBD client: parses requests, carries them out on the disk and sends replies.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Result, bail, ensure};

use super::Shared;

const INIT_MAGIC: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x3_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// Handshake flags: fixed newstyle negotiation, and no 124 zero bytes at the end of the reply to EXPORT_NAME.
const HANDSHAKE_FLAGS: u16 = 1 | 2;
/// Transmission flags of the export: HAS_FLAGS, and SEND_FLUSH (the server supports FLUSH).
const FLAGS: u16 = 1 | 1 << 2;

/// The option that QEMU takes the export with, and the greatest length of one.
const OPTION_GO: u32 = 7;
const OPTION_LEN_MAX: u32 = 4096;

const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 1 << 31 | 1;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const LEN_MAX: u32 = 32 << 20;

/// Size (bytes) of a request header.
const REQUEST_BYTES: usize = 28;
/// Maximum number of requests that are started before replies are sent. QEMU has fewer in flight.
const BATCH_MAX: usize = 64;

/// Serves one client until it disconnects.
pub(super) fn converse(stream: UnixStream, disk: &Shared) -> Result<()> {
    let mut requests = BufReader::with_capacity(1 << 20, stream.try_clone()?);
    handshake(&mut requests, &stream, disk)?;
    let mut is_connected = true;
    while is_connected {
        // All requests that have arrived are started before the first reply is sent, as on a disk with a queue: the reply to one
        // request need not precede the start of the next.
        let mut batch = Vec::new();
        loop {
            match Request::read(&mut requests, disk)? {
                Some(request) => batch.push(request),
                None => is_connected = false,
            }
            let more = requests.buffer().len() >= REQUEST_BYTES;
            if !is_connected || !more || batch.len() == BATCH_MAX {
                break;
            }
        }
        let mut answers = Vec::new();
        for request in batch {
            request.answer(disk, &mut answers);
        }
        disk.wait_while_stalled();
        (&stream).write_all(&answers)?;
    }
    Ok(())
}

/// Negotiates the export.
fn handshake(mut from: impl Read, mut to: impl Write, disk: &Shared) -> Result<()> {
    to.write_all(&[INIT_MAGIC.as_slice(), OPTION_MAGIC].concat())?;
    to.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
    let client_flags = u32::from_be_bytes(read_array(&mut from)?);
    ensure!(
        client_flags == u32::from(HANDSHAKE_FLAGS),
        "the client sent other handshake flags: {client_flags:#x}"
    );
    let mut export = disk.len().to_be_bytes().to_vec();
    export.extend(FLAGS.to_be_bytes());
    loop {
        ensure!(
            &read_array(&mut from)? == OPTION_MAGIC,
            "the client sent no NBD option"
        );
        let option = u32::from_be_bytes(read_array(&mut from)?);
        let len = u32::from_be_bytes(read_array(&mut from)?);
        ensure!(
            len <= OPTION_LEN_MAX,
            "the client sent an option of {len} bytes; the limit is {OPTION_LEN_MAX}"
        );
        from.read_exact(&mut vec![0; len as usize])?;
        let mut reply = |kind: u32, data: &[u8]| {
            let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
            for word in [option, kind, data.len() as u32] {
                reply.extend(word.to_be_bytes());
            }
            reply.extend(data);
            to.write_all(&reply)
        };
        if option == OPTION_GO {
            // An information reply of type 0, NBD_INFO_EXPORT: size and transmission flags of the export.
            reply(REPLY_INFO, &[&[0, 0], export.as_slice()].concat())?;
            return Ok(reply(REPLY_ACK, &[])?);
        }
        reply(REPLY_UNSUPPORTED, &[])?;
    }
}

/// A request that has been started and needs a reply.
struct Request {
    cookie: [u8; 8],
    action: Action,
}

enum Action {
    Read {
        offset: u64,
        len: u32,
    },
    /// A WRITE or FLUSH; the value is its position in the log.
    Logged(usize),
}

impl Request {
    /// Reads and starts the next request. Returns None after DISC.
    fn read(from: &mut impl Read, disk: &Shared) -> Result<Option<Self>> {
        ensure!(
            u32::from_be_bytes(read_array(from)?) == REQUEST_MAGIC,
            "the client sent no NBD request"
        );
        let flags = u16::from_be_bytes(read_array(from)?);
        ensure!(
            flags == 0,
            "the client sent command flags that were not offered: {flags:#x}"
        );
        let kind = u16::from_be_bytes(read_array(from)?);
        let cookie = read_array(from)?;
        let offset = u64::from_be_bytes(read_array(from)?);
        let len = u32::from_be_bytes(read_array(from)?);
        ensure!(
            len <= LEN_MAX && disk.contains(offset, len),
            "the client sent a request for {len} bytes at {offset}, which the disk does not have"
        );
        let action = match kind {
            READ => Action::Read { offset, len },
            WRITE => {
                let mut data = vec![0; len as usize];
                from.read_exact(&mut data)?;
                Action::Logged(disk.write(offset, data))
            }
            FLUSH => Action::Logged(disk.flush()),
            DISCONNECT => return Ok(None),
            command => bail!("the client sent command {command}, which was not offered"),
        };
        Ok(Some(Self { cookie, action }))
    }

    /// Finishes the request and appends its reply.
    fn answer(self, disk: &Shared, to: &mut Vec<u8>) {
        to.extend(REPLY_MAGIC.to_be_bytes());
        to.extend([0; 4]);
        to.extend(self.cookie);
        match self.action {
            Action::Read { offset, len } => to.extend(disk.read(offset, len)),
            Action::Logged(position) => disk.done(position),
        }
    }
}

fn read_array<const LEN: usize>(from: &mut impl Read) -> Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
