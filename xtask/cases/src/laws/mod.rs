//! The laws of NFS that hold for every file system: one table of cases, which unit tests run on the engines and end-to-end tests on
//! the built server.
//!
//! The directory of a case has the objects of the engines' model tree: `hello` ("hello world", mode 0644), `big` (over 200,000
//! bytes of [`big_byte`]), `dir/inner`, `empty`, `link` (to /etc/passwd), `fifo`, and [`many`] files in `many`.

mod again;
mod attributes;
mod data;
mod entries;
mod making;
mod reading;

use anyhow::{Context, Result, bail, ensure};
use nfs3_types::nfs3::{fattr3, nfsstat3};

use crate::calls::{Auth, Call};
use crate::replies::{Body, Outcome, body, outcome};
use crate::values::{pack, time};

/// A case: its name, and the function that makes its calls and checks the replies.
pub type Case = (&'static str, fn(&mut Peer<'_>) -> Result<()>);

/// The cases of a writable export.
pub fn writable() -> impl Iterator<Item = Case> {
    let all = [
        again::CASES,
        attributes::CASES,
        data::CASES,
        entries::CASES,
        entries::CASES_OF_LOOKUP,
        making::CASES,
        reading::CASES,
    ];
    all.into_iter().flatten().copied()
}

/// The cases of a read-only export.
pub fn read_only() -> impl Iterator<Item = Case> {
    let all = [
        reading::CASES,
        reading::CASES_OF_READ_ONLY,
        entries::CASES_OF_LOOKUP,
    ];
    all.into_iter().flatten().copied()
}

/// A running server with a tree.
pub trait Server {
    /// Sends a call message and returns the reply message.
    fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>>;

    /// Replaces the connection, which breaks, by a new one.
    fn reconnect(&mut self) -> Result<()>;

    /// Lets the file system's clock advance, so that the next change gives an object other times.
    fn tick(&mut self);

    /// Saves the state of all objects.
    fn save(&mut self) -> Result<()>;

    /// Returns true if the objects are those of the last `save`, with the same names, attributes and contents.
    fn is_as_saved(&mut self) -> Result<bool>;

    /// Checks that the tree is consistent, and that the server's attributes are those of the host.
    fn check(&mut self) -> Result<()>;
}

/// A client of the server.
pub struct Peer<'a> {
    server: &'a mut dyn Server,
    /// Handle of the export's root.
    pub root: Vec<u8>,
    /// Handle of the case's directory.
    pub top: Vec<u8>,
    /// Credential of all calls.
    pub auth: Auth,
    /// True if the server may set owners and create devices.
    pub is_privileged: bool,
    xid: u32,
}

impl<'a> Peer<'a> {
    /// A client whose calls have no xid below `xid`.
    pub fn new(server: &'a mut dyn Server, root: Vec<u8>, xid: u32) -> Self {
        Self {
            server,
            top: root.clone(),
            root,
            auth: Auth::root(),
            is_privileged: true,
            xid,
        }
    }

    /// The message of a call, with an xid that no other call has.
    fn message(&mut self, call: &Call<'_>) -> Vec<u8> {
        self.xid += 1;
        call.message(self.xid, &self.auth)
    }

    /// Makes a call. Returns its results, or None if it was rejected with GARBAGE_ARGS.
    pub fn ask(&mut self, call: &Call<'_>) -> Result<Option<Body>> {
        let message = self.message(call);
        let reply = self.server.exchange(&message)?;
        match outcome(&reply)? {
            (xid, _) if xid != self.xid => bail!("the reply has the xid of another call"),
            (_, Outcome::Success(results)) => Ok(Some(body(call.procedure, results)?)),
            (_, Outcome::GarbageArguments) => Ok(None),
            (_, other) => bail!("answered {other:?}"),
        }
    }

    /// Makes a call, which must return `status`.
    pub fn expect(&mut self, call: &Call<'_>, status: nfsstat3) -> Result<Body> {
        let about = || format!("{:?} {}", call.procedure, call.arguments.escape_ascii());
        let body = self.ask(call).with_context(about)?;
        let body = body.context("GARBAGE_ARGS").with_context(about)?;
        let answered = body.status()?;
        ensure!(
            answered == status,
            "{}: {answered:?} instead of {status:?}",
            about()
        );
        Ok(body)
    }

    /// Makes a call, which must be rejected with GARBAGE_ARGS and change nothing.
    pub fn expect_garbage(&mut self, call: &Call<'_>) -> Result<()> {
        self.server.save()?;
        let body = self.ask(call)?;
        let about = call.arguments.escape_ascii();
        ensure!(body.is_none(), "{:?} {about}: {body:?}", call.procedure);
        ensure!(
            self.server.is_as_saved()?,
            "a rejected call changed something: {about}"
        );
        Ok(())
    }

    /// Makes a call that may change the objects `around`. Compares the attributes in its reply, before and after, with GETATTR. A
    /// call that fails must not change anything.
    pub fn change(&mut self, call: &Call<'_>, around: &[&[u8]], status: nfsstat3) -> Result<Body> {
        let mut was = Vec::new();
        for object in around {
            was.push(Some(before(self.attributes(object)?)));
        }
        self.server.save()?;
        let body = self.expect(call, status)?;
        let about = || format!("{:?} {}", call.procedure, call.arguments.escape_ascii());
        if status != nfsstat3::NFS3_OK {
            ensure!(
                self.server.is_as_saved()?,
                "failed, but changed something: {}",
                about()
            );
        }
        let mut now = Vec::new();
        for object in around {
            now.push(Some(self.attributes(object)?));
        }
        ensure!(body.before == was, "{}: {body:?} after {was:?}", about());
        ensure!(
            body.attributes.ends_with(&now),
            "{}: {body:?}, but {now:?}",
            about()
        );
        self.server.check().with_context(about)?;
        Ok(body)
    }

    /// Makes a call that must succeed without any effect.
    fn expect_no_change(&mut self, call: &Call<'_>, around: &[&[u8]]) -> Result<Body> {
        self.server.save()?;
        let body = self.change(call, around, nfsstat3::NFS3_OK)?;
        ensure!(
            self.server.is_as_saved()?,
            "{:?} changed something",
            call.procedure
        );
        Ok(body)
    }

    /// The handle of the object at `path` below the case's directory.
    pub fn handle(&mut self, path: &str) -> Result<Vec<u8>> {
        let mut handle = self.top.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = self.expect(&Call::lookup(&handle, name.as_bytes()), nfsstat3::NFS3_OK);
            handle = found.with_context(|| path.to_owned())?.handle;
        }
        Ok(handle)
    }

    /// The attributes in a GETATTR reply, as words.
    fn attributes(&mut self, object: &[u8]) -> Result<[u32; 21]> {
        let body = self.expect(&Call::get_attr(object), nfsstat3::NFS3_OK)?;
        body.attributes[0].context("no attributes")
    }

    /// The attributes in a GETATTR reply.
    pub fn attr(&mut self, object: &[u8]) -> Result<fattr3> {
        self.expect(&Call::get_attr(object), nfsstat3::NFS3_OK)?
            .attr(0)
    }

    /// The first MiB of a file.
    pub fn content(&mut self, file: &[u8]) -> Result<Vec<u8>> {
        Ok(self
            .expect(&Call::read(file, 0, 1 << 20), nfsstat3::NFS3_OK)?
            .bytes)
    }
}

/// The part of the attributes that a reply reports from before a change: size, mtime and ctime.
pub fn before(attributes: [u32; 21]) -> [u32; 6] {
    [5, 6, 17, 18, 19, 20].map(|at| attributes[at])
}

/// The byte at offset `at` of the file `big`.
pub fn big_byte(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)) as u8
}

/// The names in the directory `many`, up to the longest.
pub fn many() -> impl Iterator<Item = String> {
    let name = |number: usize| format!("{number:03}{}", "n".repeat(number * 37 % 100));
    (0..100).map(name).chain(["m".repeat(255)])
}
