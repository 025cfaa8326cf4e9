//! The data of a READ reply is what the file had when the reply was made, whatever happens to the file afterwards.

use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use xtask::build::Arch;
use xtask::clients::sftp::{
    Attrs, READ_MAX, Reply, Request, Sftp, SftpOptions, Wire, kind, open, request,
};
use xtask::machines::server::{binary, public_dir};
use xtask::machines::wait_for;

/// Number of READs that the test sends over each transport.
const READ_COUNT: usize = 7000;
/// Length (bytes) of the file.
const FILE_BYTES: usize = 1 << 20;

/// The file's byte at an offset: never zero.
fn byte_at(offset: usize) -> u8 {
    (offset % 251 + 1) as u8
}

/// Server process, and the client's ends of its transport.
struct Peer {
    input: Box<dyn Write>,
    output: Box<dyn Read>,
    server: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only if the server has already ended.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Peer {
    fn over_pipes() -> Result<Self> {
        let mut server = Command::new(binary(Arch::X86_64)?)
            .arg("sftp-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self {
            input: Box::new(server.stdin.take().context("no stdin")?),
            output: Box::new(server.stdout.take().context("no stdout")?),
            server,
        })
    }

    fn over_socket_pair() -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let server = Command::new(binary(Arch::X86_64)?)
            .arg("sftp-server")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs.try_clone()?)))
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .spawn()?;
        Ok(Self {
            input: Box::new(ours.try_clone()?),
            output: Box::new(ours),
            server,
        })
    }

    fn over_listener(directory: &Path) -> Result<Self> {
        let socket = directory.join("socket");
        let server = Command::new(binary(Arch::X86_64)?)
            .args(["sftp-server", "--listen"])
            .arg(&socket)
            .stderr(Stdio::null())
            .spawn()?;
        let connected = wait_for(std::time::Duration::from_secs(10), || {
            Ok(UnixStream::connect(&socket).ok())
        })?;
        let ours = connected.context("the server does not listen")?;
        Ok(Self {
            input: Box::new(ours.try_clone()?),
            output: Box::new(ours),
            server,
        })
    }

    /// Reads the length of the next packet. When the length arrives, the server has already made the whole reply.
    fn reply_len(&mut self) -> Result<usize> {
        let mut len = [0; 4];
        self.output.read_exact(&mut len)?;
        Ok(u32::from_be_bytes(len) as usize)
    }

    /// Reads the next packet.
    fn packet(&mut self) -> Result<Vec<u8>> {
        let mut packet = vec![0; self.reply_len()?];
        self.output.read_exact(&mut packet)?;
        Ok(packet)
    }

    /// Starts a session and opens a file for reading; returns its handle.
    fn open(&mut self, path: &Path) -> Result<Vec<u8>> {
        self.input.write_all(&request::init(3))?;
        self.packet()?;
        let path = path.display().to_string();
        let request = Request::Open(path.as_bytes(), open::READ, Attrs::default());
        self.input.write_all(&request.packet(1))?;
        let packet = self.packet()?;
        ensure!(packet[0] == kind::HANDLE, "OPEN is answered {packet:?}");
        Ok(packet[9..].to_vec())
    }
}

/// Sends random READs. Between the first and the last byte of each reply, the file is truncated and then restored.
fn reads_stay_exact(mut peer: Peer, path: &Path) -> Result<()> {
    let content: Vec<u8> = (0..FILE_BYTES).map(byte_at).collect();
    fs::write(path, &content)?;
    let file = File::options().write(true).open(path)?;
    let handle = peer.open(path)?;
    let mut random = Random::new(seed());
    for round in 0..READ_COUNT {
        let len_max = [4 << 10, 32 << 10, 32 << 10, READ_MAX as usize][random.below(4)];
        let len = 1 + random.below(len_max);
        let from = random.below(FILE_BYTES);
        let request = Request::Read(&handle, from as u64, len as u32);
        peer.input.write_all(&request.packet(7))?;
        let mut packet = vec![0; peer.reply_len()?];
        // The truncation cuts within the range of the reply.
        let available = len.min(FILE_BYTES - from);
        let cut = from + random.below(available);
        file.set_len(cut as u64)?;
        peer.output.read_exact(&mut packet)?;
        file.write_all_at(&content[cut..], cut as u64)?;
        let data = packet.get(9..).unwrap_or_default();
        ensure!(
            packet[0] == kind::DATA && data == &content[from..from + available],
            "READ {round} of {len} from {from}, cut at {cut}: kind {}, {} bytes, {} zeros",
            packet[0],
            data.len(),
            data.iter().filter(|byte| **byte == 0).count()
        );
    }
    Ok(())
}

#[test]
fn truncation_keeps_replies_over_pipes() -> Result<()> {
    let directory = public_dir()?;
    reads_stay_exact(Peer::over_pipes()?, &directory.path().join("file"))
}

#[test]
fn truncation_keeps_replies_over_a_socket_pair() -> Result<()> {
    let directory = public_dir()?;
    reads_stay_exact(Peer::over_socket_pair()?, &directory.path().join("file"))
}

#[test]
fn truncation_keeps_replies_over_a_listener() -> Result<()> {
    let directory = public_dir()?;
    let peer = Peer::over_listener(directory.path())?;
    reads_stay_exact(peer, &directory.path().join("file"))
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
