//! `cargo xtask order`: writes linker/order.txt, the functions that `nfs` and `mdns` run until they are at rest, and in a call or query;
//! `nfs` also with a stack of its own, and `mdns` with files.
//!
//! A page fault also maps the other cached pages of the same 64 KiB (fault-around), so the order of functions decides how much of the
//! file is resident. Each role is traced instruction by instruction, with ptrace(2), in a network of its own.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use object::{Object as _, ObjectSymbol as _};

use crate::build::{self, Arch};
use crate::clients::nfs::Client;
use crate::machines::server::{Namespace, public_dir};

/// Time without an instruction after which a server is at rest. Announcements by multicast DNS are at most a few seconds apart.
const REST: Duration = Duration::from_secs(10);
/// A server that looks for changed virtual machines again and again has no longer rest.
const REST_COUNT_MAX: usize = 15;
const PATH: &str = "linker/order.txt";
/// The first lines of the file.
const HEAD: &str = "# Functions that run until a server is at rest, and in a call or query: stowaway.ld puts them first. \"*\" stands for a hash.\n\
    # Written by `cargo xtask order`. A name that a build lacks has no effect.\n";

/// The requests of a client to a server that is at rest.
type Call = Option<Box<dyn FnOnce() -> Result<()> + Send>>;
/// Functions by their names in the list.
type Names = BTreeSet<String>;

/// Traces the roles and writes the list.
pub fn main() -> Result<()> {
    let directory = public_dir()?;
    build::build(Arch::X86_64)?;
    let export = directory.path().display().to_string();
    let arguments = format!("nfs --export {export}:rw,insecure -p -n 2049 -l 127.0.0.1");
    let mounted = export.clone();
    let call = move || {
        let mut client = Client::connect(([127, 0, 0, 1], 2049).into())?;
        let root = client.mount(&mounted)?;
        client.attr(&root).map(drop)
    };
    let nfs = functions(&arguments, Some(Box::new(call))).context("nfs")?;
    let arguments = "mdns --name box --service ship,_sftp-ssh._tcp,22 --workstation";
    let mdns = functions(arguments, Some(Box::new(query))).context("mdns")?;
    let (services, machines) = announced(directory.path())?;
    let arguments = format!("{arguments} --services {services} --vms {machines}");
    let files = functions(&arguments, None).context("mdns with files")?;
    let arguments =
        format!("nfs --export {export}:rw,insecure --net packet:eth0 --ip 192.0.2.3/24");
    let stack = functions(&arguments, None).context("nfs with a stack of its own")?;
    let (mut text, rest) = (HEAD.to_owned(), &nfs | &mdns);
    for (title, names) in [
        ("nfs", &nfs - &mdns),
        ("nfs and mdns", &nfs & &mdns),
        ("mdns", &mdns - &nfs),
        ("mdns with files", &files - &rest),
        ("nfs with a stack of its own", &(&stack - &rest) - &files),
    ] {
        text += &format!("# {title}\n");
        names.iter().for_each(|name| text += &format!("{name}\n"));
    }
    fs::write(PATH, text).with_context(|| format!("cannot write {PATH}"))
}

/// Makes directories of a service file and of a virtual machine, and returns their paths.
fn announced(directory: &Path) -> Result<(String, String)> {
    let [services, machines] = ["services", "vms"].map(|name| directory.join(name));
    fs::create_dir_all(&services)?;
    fs::create_dir_all(machines.join("one"))?;
    let service = "<service-group><name replace-wildcards=\"yes\">x on %h</name><service><type>_ssh._tcp</type><port>22</port></service></service-group>";
    fs::write(services.join("one.service"), service)?;
    let machine = "displayName = \"one\"\nuuid.bios = \"56 4d 00 00 00 00 00 00-00 00 00 00 00 00 00 01\"\nguestOS = \"other\"\n";
    fs::write(machines.join("one/one.vmx"), machine)?;
    let path = |directory: &Path| directory.display().to_string();
    Ok((path(&services), path(&machines)))
}

/// Asks the network for all service types, and for a host.
fn query() -> Result<()> {
    const TYPES: &[u8] =
        b"\0\0\0\0\0\x01\0\0\0\0\0\0\x09_services\x07_dns-sd\x04_udp\x05local\0\0\x0c\0\x01";
    const HOST: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03box\x05local\0\0\xff\0\x01";
    let socket = UdpSocket::bind(("192.0.2.1", 5354))?;
    for query in [TYPES, HOST] {
        socket.send_to(query, ("224.0.0.251", 5353))?;
    }
    Ok(())
}

/// The functions that run until a server with these arguments is at rest, and then in `call` until it is so again.
fn functions(arguments: &str, call: Call) -> Result<Names> {
    let path = build::debug_path(Arch::X86_64);
    let bytes = fs::read(&path)?;
    let file = object::File::parse(&*bytes)?;
    let mut symbols: Vec<_> = file
        .symbols()
        .filter(|symbol| symbol.section_index().is_some())
        .filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?)))
        // Symbols of the linker script are no functions.
        .filter(|(_, name)| !name.starts_with("__"))
        .collect();
    symbols.sort_unstable();
    let (host, _other) = Namespace::pair()?;
    let line = format!("kill -STOP $$; exec {} {arguments}", path.display());
    let ran = host.run(|| trace(&line, call))?;
    let names = ran.into_iter().filter_map(|at| {
        let next = symbols.partition_point(|(address, _)| *address <= at);
        Some(pattern(symbols.get(next.checked_sub(1)?)?.1))
    });
    Ok(names.collect())
}

/// The name of a function, with "*" for the hash or the number that differs in each build.
fn pattern(name: &str) -> String {
    let hash = name.len().saturating_sub("17h0123456789abcdefE".len());
    match (name.get(hash..), name.rsplit_once('.')) {
        (Some(end), _) if end.starts_with("17h") && end.ends_with('E') => {
            format!("{}17h*E", &name[..hash])
        }
        (_, Some((name, number))) if number.parse::<u32>().is_ok() => format!("{name}.*"),
        _ => name.to_owned(),
    }
}

/// Runs a line of the shell, which stops itself and then executes a program. Returns the addresses of all instructions of the program
/// that run until it is at rest, and then in `call` until it is so again.
fn trace(line: &str, call: Call) -> Result<BTreeSet<u64>> {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).stdin(Stdio::null());
    shell.stdout(Stdio::null()).stderr(Stdio::null());
    let child = shell.spawn()?;
    let pid = Pid::from_raw(child.id().try_into()?);
    waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
    ptrace::seize(
        pid,
        Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL,
    )?;
    kill(pid, Signal::SIGCONT)?;
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let end = thread::spawn(move || {
        wait_for_rest(&counted);
        let called = call.map(|call| {
            let called = call();
            wait_for_rest(&counted);
            called
        });
        kill(pid, Signal::SIGKILL)?;
        called.unwrap_or(Ok(()))
    });
    let (mut ran, mut runs) = (BTreeSet::new(), false);
    loop {
        let mut signal = None;
        match waitpid(pid, None)? {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) if runs => break,
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => {
                runs = true;
            }
            WaitStatus::Stopped(_, Signal::SIGTRAP) | WaitStatus::PtraceEvent(..) => {}
            WaitStatus::Stopped(_, other) => signal = Some(other),
            status => bail!("the server ended: {status:?}"),
        }
        if runs {
            count.fetch_add(1, Ordering::Relaxed);
            ran.insert(ptrace::getregs(pid)?.rip);
            ptrace::step(pid, signal)?;
        } else {
            ptrace::cont(pid, signal)?;
        }
    }
    end.join().expect("the thread does not panic")?;
    Ok(ran)
}

/// Waits until `count` stays the same for [`REST`], at most [`REST_COUNT_MAX`] times.
fn wait_for_rest(count: &AtomicU64) {
    let mut seen = None;
    for _ in 0..REST_COUNT_MAX {
        let now = Some(count.load(Ordering::Relaxed));
        if seen == now {
            return;
        }
        seen = now;
        thread::sleep(REST);
    }
}
