//! The RPC programs: NFS, MOUNT and the portmapper. RFC 5531.
//!
//! Each program is a row of a table: its number, its versions, and the function that answers a call. Replies to the calls in one
//! input are written to one output. Calls that are not idempotent go through the duplicate request cache.

use super::Cx;
use super::mount::{self, Mounts};
use super::nfs::Nfs;
use super::nfs4::{Nfs4, Terms};
use super::portmap::{self as mappings, Mappings};
use super::rpc::connections::{Connection, Connections};
use super::rpc::lock::ServerLock;
use super::rpc::{Answer, Reply, Request, Unanswered};
use crate::config::HAS_NFS4;
use crate::log;
use crate::stats::{Operation, Outcome};
use crate::time::Instant;
#[cfg(test)]
use crate::vfs::Peer;
use crate::vfs::{FileId, Patience};
use crate::wire::nfs3::{self, VERIFIER_BYTES};
use crate::wire::rpc::{self, Call, Reject, emit_head, emit_rejection};
use crate::wire::{self, Reader, Writer, portmap};
use core::net::{IpAddr, Ipv6Addr};
use core::sync::atomic::AtomicU32;

mod promises;
mod refusals;
mod session;

use session::Phase;
pub use session::Session;

/// The programs that one socket serves: a bit for each row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProgramSet(u8);

impl ProgramSet {
    /// NFS.
    pub const NFS: Self = Self(1);
    /// MOUNT.
    pub const MOUNT: Self = Self(2);
    /// The portmapper.
    pub const PORTMAP: Self = Self(4);

    /// These programs and `others`.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

/// A program of the table.
struct Program {
    number: u32,
    /// The lowest and the highest version.
    versions: [u8; 2],
    /// Answers a call, not NULL. The reply's header is written. A call that goes on leaves its phase.
    answer: fn(
        &mut Programs,
        &mut Cx<'_>,
        &mut Request<'_, '_>,
        &mut Option<Phase>,
    ) -> Result<Answer, Unanswered>,
}

/// The programs, in the order of the bits of [`ProgramSet`].
static TABLE: [Program; 3] = [
    Program {
        number: nfs3::PROGRAM,
        versions: [nfs3::VERSION as u8; 2],
        answer: |programs, cx, request, phase| {
            if HAS_NFS4 && request.call.version != nfs3::VERSION {
                return programs.compound(cx, request, phase);
            }
            let mut begun = None;
            let answer = programs.nfs.answer(cx, request, &mut begun);
            if let Some(begun) = begun {
                *phase = Some(Phase::Nfs3(begun));
            }
            answer
        },
    },
    Program {
        number: wire::mount::PROGRAM,
        versions: [wire::mount::VERSION_1 as u8, wire::mount::VERSION_3 as u8],
        answer: |programs, cx, request, _| mount::answer(&mut programs.mounts, cx, request),
    },
    Program {
        number: portmap::PROGRAM,
        versions: [portmap::VERSION as u8, portmap::VERSION_4 as u8],
        answer: |programs, cx, request, _| mappings::answer(&mut programs.mappings, cx, request),
    },
];

/// The programs and their shared state.
#[repr(C)] // Most-used fields first, where short instructions reach them.
pub struct Programs {
    nfs: Nfs,
    /// The portmapper's table.
    pub mappings: Mappings,
    mounts: Mounts,
    /// Version 4.1 of NFS.
    nfs4: Nfs4,
    /// True after a failed sync, until one succeeds. Meanwhile the engine stops after each reply that must wait for a sync, so that
    /// no two replies share a sync and each request gets its own result.
    syncs_each: bool,
}

impl Programs {
    /// Creates the programs. `verifier` is the write verifier and differs for every start. `memory` of
    /// [`SHARED_BYTES`](crate::config::SHARED_BYTES) is zeros or an earlier server's; it holds the duplicate request cache and the
    /// verifiers of exclusive CREATEs. `is_kept`: other servers use that memory too, either now (synchronised by `lock`) or after
    /// a restart. `connections` are those of all servers that use the memory.
    pub fn new(
        verifier: [u8; VERIFIER_BYTES],
        memory: &'static mut [u8],
        is_kept: bool,
        lock: Option<&'static dyn ServerLock>,
        connections: Connections,
    ) -> Self {
        Self {
            nfs: Nfs::new(verifier, memory, is_kept, lock, connections),
            mappings: Mappings::new(),
            mounts: Mounts::default(),
            nfs4: Nfs4::default(),
            syncs_each: false,
        }
    }

    /// A copy of `memory`, as left by a server that was killed after it carried out the call and before it stored the reply.
    #[cfg(test)]
    pub(super) fn left_begun(
        &self,
        peer: &Peer,
        call: &[u8],
        was_there: bool,
    ) -> &'static mut [u8] {
        let left = self.nfs.drc.left_begun(peer, call, was_there);
        const HEAD: usize = crate::config::SHARED_BYTES - crate::config::DRC_BYTES;
        [&[0; HEAD], &*left].concat().leak()
    }

    /// The open connections.
    #[cfg(test)]
    pub(super) const fn connections(&mut self) -> &mut Connections {
        &mut self.nfs.drc.connections
    }

    /// Sets the address at which the server listens, from which `stowaway check` of this host calls.
    pub const fn set_listener(&mut self, address: Ipv6Addr) {
        self.mounts.listener = address;
    }

    /// Removes an export that has ended from the mount list.
    pub fn end_export(&mut self, number: usize) {
        self.mounts.end(number);
    }

    /// Changes the write verifier, because unstable data may be lost.
    pub fn break_promises(&mut self) {
        self.nfs.break_promises();
    }

    /// Offers NFS 4.1, as [`Nfs4::new`], and also version 3 if `has_3`.
    pub fn offer_version_4(
        &mut self,
        words: &'static [AtomicU32],
        instance: [u32; 2],
        waiting_count: usize,
        has_3: bool,
    ) {
        let connections = self.nfs.drc.connections;
        let (lock, is_kept) = (self.nfs.lock(), self.nfs.drc.is_kept());
        self.nfs4 = Nfs4::new(words, instance, connections, lock, waiting_count, is_kept);
        if !has_3 {
            self.nfs4.end_version_3();
        }
    }

    /// Keeps records of clients of NFS 4.1, as [`Nfs4::keep_records`].
    pub fn keep_records(&mut self, file: FileId, content: &[u8], server: u64, now: Instant) -> u32 {
        self.nfs4.keep_records(file, content, server, now)
    }

    /// The numbers of clients, opens and denying opens of NFS 4.1; without it, none.
    pub fn nfs4_counts(&self) -> &'static [AtomicU32] {
        self.nfs4.counts()
    }

    /// Answers a call of NFS 4.
    fn compound(
        &mut self,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        phase: &mut Option<Phase>,
    ) -> Result<Answer, Unanswered> {
        let mut waiting = match phase.take() {
            Some(Phase::Nfs4(waiting)) => Some(waiting),
            _ => None,
        };
        let (terms, mut sending) = (
            Terms {
                read_bytes_max: self.nfs.read_bytes_max(cx.now),
                verifier: self.nfs.verifier(),
            },
            None,
        );
        let answer = self
            .nfs4
            .answer(cx, request, &mut waiting, &terms, &mut sending);
        *phase = match sending {
            Some(sending) => Some(Phase::Nfs3(sending)),
            None => waiting.map(Phase::Nfs4),
        };
        answer
    }

    /// Answers one call, rejects it, or begins it and leaves its `phase`.
    ///
    /// # Errors
    /// The reason why the call is not answered; never [`Unanswered::Reject`].
    fn call(
        &mut self,
        programs: ProgramSet,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        phase: &mut Option<Phase>,
    ) -> Result<Answer, Unanswered> {
        let start = request.reply.position();
        // The header of a call that goes on is parsed.
        let parsed = match request.call.program {
            0 => request.call.parse(&mut request.args),
            _ => Ok(()),
        };
        let mut answer = match parsed {
            Ok(()) => self.dispatch(programs, cx, request, phase),
            Err(why) => Err(why.into()),
        };
        if answer.is_ok() && request.reply.written().is_none() {
            // Only a datagram's reply can overflow: a stream's output has space for every reply.
            answer = Err(Unanswered::Reject(Reject::System));
        }
        if matches!(
            answer,
            Err(_)
                | Ok(Answer {
                    reply: Reply::Later,
                    ..
                })
        ) {
            request.reply.truncate(start);
        }
        if let Err(Unanswered::Reject(why)) = answer {
            refusals::report(cx, &request.call, why);
            emit_rejection(request.reply, request.call.xid, why);
            answer = Ok(Answer::of(Outcome::Failed));
        }
        answer
    }

    fn dispatch(
        &mut self,
        programs: ProgramSet,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        phase: &mut Option<Phase>,
    ) -> Result<Answer, Unanswered> {
        let call = &request.call;
        log::debug!(
            "call {=u32}.{=u32}.{=u32}",
            call.program,
            call.version,
            call.procedure
        );
        let mut set = programs.0;
        for program in &TABLE {
            if program.number == call.program && set & 1 != 0 {
                let mut versions = program.versions;
                if HAS_NFS4 && program.number == nfs3::PROGRAM {
                    versions = self.nfs4.versions();
                }
                let [low, high] = versions;
                if !(low.into()..=high.into()).contains(&call.version) {
                    return Err(Reject::Version(low, high).into());
                }
                emit_head(request.reply, call.xid);
                return match call.procedure {
                    rpc::NULL => Ok(Answer::DONE),
                    _ => (program.answer)(self, cx, request, phase),
                };
            }
            set >>= 1;
        }
        Err(Reject::Program.into())
    }

    /// Answers a datagram to a socket where `programs` are served; `reached` is the address of this host at which it arrived, if
    /// known. Returns the length of the reply, or `None` if no reply must be sent.
    pub fn answer(
        &mut self,
        programs: ProgramSet,
        cx: &mut Cx<'_>,
        reached: Option<IpAddr>,
        packet: &[u8],
        output: &mut [u8],
    ) -> Option<usize> {
        let mut reply = Writer::new(output);
        let mut request = Request {
            reply: &mut reply,
            args: Reader::new(packet),
            call: Call::default(),
            follows: Some(0),
            reached,
            connection: Connection::NONE,
            patience: Patience::Forever,
        };
        // A message that is not a call is not answered. NFS itself is not served over UDP, so a call that stops waits for a disk:
        // the client repeats it.
        let Ok(
            answer @ Answer {
                reply: Reply::Whole,
                ..
            },
        ) = self.call(programs, cx, &mut request, &mut None)
        else {
            return None;
        };
        let call = &request.call;
        let operation = Operation::rpc(call.program, call.procedure);
        cx.stats.called(operation, answer.outcome);
        let xid = call.xid;
        // The source address may be forged: a longer reply to another network could be used to flood the owner of the address.
        if !refusals::is_near(cx.peer.address) && reply.written()? > packet.len() {
            reply.truncate(0);
            emit_rejection(&mut reply, xid, Reject::System);
            return reply.written().filter(|len| *len <= packet.len());
        }
        reply.written()
    }
}
