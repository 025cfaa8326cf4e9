//! The data of a READ reply is what the file had when the reply was made, whatever happens to the file afterwards.

use anyhow::{Result, ensure};
use cases::random::{Random, seed};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use xtask::clients::sftp::{Attrs, READ_MAX, Reply, Request, Sftp, SftpOptions, Wire};
use xtask::machines::server::public_dir;

/// Number of READs that the test sends over each transport.
const READ_COUNT: usize = 3000;
/// Length (bytes) of the file.
const FILE_BYTES: usize = 1 << 20;

/// The file's byte at an offset: never zero.
fn byte_at(offset: usize) -> u8 {
    (offset % 251 + 1) as u8
}

/// Sends random READs. Between the first and the last byte of each reply, the file is truncated and then restored.
fn reads_stay_exact(wire: Wire) -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path().join("file");
    let content: Vec<u8> = (0..FILE_BYTES).map(byte_at).collect();
    fs::write(&path, &content)?;
    let file = File::options().write(true).open(&path)?;
    let mut client = Sftp::start(&SftpOptions::in_directory(directory.path()).with_wire(wire))?;
    let handle = client.open_read("file")?;
    let mut random = Random::new(seed());
    for round in 0..READ_COUNT {
        let len_max = [4 << 10, 32 << 10, 32 << 10, READ_MAX as usize][random.below(4)];
        let len = 1 + random.below(len_max);
        let from = random.below(FILE_BYTES);
        let request = Request::Read(&handle, from as u64, len as u32);
        client.send(&request.packet(7))?;
        // When the packet's length arrives, the server has already made the whole reply.
        client.buffer_exactly(4)?;
        // The truncation cuts within the range of the reply.
        let available = len.min(FILE_BYTES - from);
        let cut = from + random.below(available);
        file.set_len(cut as u64)?;
        let reply = client.answer(7, &request)?;
        file.write_all_at(&content[cut..], cut as u64)?;
        let Reply::Data(data) = reply else {
            anyhow::bail!("READ is answered {reply:?}");
        };
        ensure!(
            data == content[from..from + available],
            "READ {round} of {len} from {from}, cut at {cut}: {} bytes, {} zeros",
            data.len(),
            data.iter().filter(|byte| **byte == 0).count()
        );
    }
    Ok(())
}

#[test]
fn truncation_keeps_replies_over_pipes() -> Result<()> {
    reads_stay_exact(Wire::Pipes)
}

#[test]
fn truncation_keeps_replies_over_a_socket_pair() -> Result<()> {
    reads_stay_exact(Wire::SocketPair)
}

#[test]
fn truncation_keeps_replies_over_a_listener() -> Result<()> {
    reads_stay_exact(Wire::Listener)
}

/// The client reads no reply before the server has processed both requests.
#[test]
fn setstat_after_read_keeps_its_reply() -> Result<()> {
    const LEN: u32 = 32 << 10;
    let directory = public_dir()?;
    let content: Vec<u8> = (0..FILE_BYTES).map(byte_at).collect();
    for wire in [Wire::Pipes, Wire::SocketPair] {
        fs::write(directory.path().join("file"), &content)?;
        let mut client = Sftp::start(&SftpOptions::in_directory(directory.path()).with_wire(wire))?;
        let handle = client.open_read("file")?;
        let replies = client.pipeline(&[
            Request::Read(&handle, 0, LEN),
            Request::SetStat(b"file", Attrs::size(100)),
        ])?;
        let Reply::Data(data) = &replies[0] else {
            anyhow::bail!("READ is answered {:?}", replies[0]);
        };
        ensure!(*data == content[..LEN as usize], "{} bytes", data.len());
        client.finish_quietly()?;
    }
    Ok(())
}
