//! `install` and `uninstall`: copies the executable to a directory of this host, and makes the host start it.
//!
//! Each kind of host has a table of steps: `install` takes them in order, `uninstall` in reverse. What the user edited is left alone.

mod block;
mod kinds;

use super::flags::{Flags, flags};
use super::{FAILED, Fatal, Role, USAGE, complain, print, refuse_value};
use crate::config::{HOST_SCRIPT_BYTES_MAX, INSTALL_DIR_BYTES_MAX, INSTALLED_TEXT_BYTES_MAX};
use crate::console::reasons;
use crate::event::Line;
use crate::mem::{self, parts};
use crate::os::files::{self, Directory};
use crate::os::install::{
    self, Content, Found, PATH_BYTES_MAX, PathBuffer, Program, compare, compare_link, join,
};
use crate::sys::{Args, Errno};
use crate::text::{Text, text};
use crate::wire::Writer;
use core::ffi::CStr;
use kinds::{Holds, Kind, Step};

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  install, uninstall DIR\tmakes this host start the server, or no longer\n");
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

/// The message for a wrong directory, or none.
const WANTED: Text = text!("directory: one absolute path, at most 128 letters, digits and +-._/");

flags! {
    pub(super) enum Flag of Install {
        For { long: text!("--for"), takes: Value(text!("kind of host: one of busybox, esxi, openrc, systemd, sysvinit")) },
        DryRun { long: text!("--dry-run") },
        Force { long: text!("--force") },
        Links { long: text!("--links") },
        Dir { takes: Operand(WANTED) },
    }
}

pub(super) const FLAGS: Flags = Flags::of(Flag::ROWS, HELP);
// The message of the directory names this limit.
const _: () = assert!(INSTALL_DIR_BYTES_MAX == 128);

/// The words by which a later version knows a file that `install` made.
const MARK: &[u8] = b"Made by stowaway install";
/// ESXi keeps only its datastores over a restart.
const DATASTORES: &[u8] = b"/vmfs/volumes/";

/// The two roles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    /// `install`.
    Install,
    /// `uninstall`.
    Uninstall,
}

/// Takes or prints the steps for the directory of the arguments.
pub(super) fn run(args: Args, verb: Verb) -> Result<(), Fatal> {
    let (mut dir, mut kind) = (None, None);
    let (mut is_dry, mut is_forced, mut has_links) = (false, false, false);
    FLAGS.read(args, &mut |given| {
        match Flag::of(given.flag)? {
            Flag::DryRun => is_dry = true,
            Flag::Force => is_forced = true,
            Flag::Links => has_links = true,
            Flag::For => kind = Some(Kind::of(given.value.to_bytes())?),
            Flag::Dir if dir.is_some() => return None,
            Flag::Dir => dir = Some(directory(given.value.to_bytes())?),
        }
        Some(())
    })?;
    let dir = dir.ok_or_else(|| refuse_value(b"", b"", WANTED))?;
    let kind = kind.or_else(Kind::of_host).ok_or_else(|| {
        let what = text!("none of the known inits is installed");
        let why = text!(
            "recipes.md (On each kind of host) says what to do for runit and procd; or choose with --for"
        );
        complain(FAILED, what, b"", why)
    })?;
    if verb == Verb::Install {
        if kind.is_esxi && !is_forced && !dir.starts_with(DATASTORES) {
            let why = text!(
                "ESXi keeps only /vmfs/volumes over a restart; choose a directory there, or add --force"
            );
            return Err(complain(USAGE, text!("cannot install into"), dir, why));
        }
        let mut buffer = [0; PATH_BYTES_MAX];
        Directory::open(join(&[dir, b"/"], &mut buffer))
            .map_err(|errno| failed(text!("cannot install into"), dir, errno))?;
    }
    let own = Program::own()
        .map_err(|errno| failed(text!("cannot read the file of this program"), b"", errno))?;
    let mut host = Host {
        dir,
        config: if kind.is_esxi { dir } else { b"/etc/stowaway" },
        is_dry,
        is_forced,
        has_links,
        own,
        worst: Ok(()),
    };
    match verb {
        Verb::Install => host.install(kind),
        Verb::Uninstall => host.uninstall(kind),
    }
}

/// Accepts a directory, without the "/" at its end. Scripts and units hold it without quotes.
fn directory(text: &'static [u8]) -> Option<&'static [u8]> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._/".contains(byte);
    let is_right =
        text.len() <= INSTALL_DIR_BYTES_MAX && text.starts_with(b"/") && text.iter().all(is_plain);
    is_right.then(|| text.strip_suffix(b"/").unwrap_or(text))
}

fn failed(what: Text, about: &[u8], errno: Errno) -> Fatal {
    reasons::failed(what, about, errno, &[])
}

/// The names of other programs by which this one can be started.
fn link_names() -> impl Iterator<Item = &'static [u8]> {
    let names = parts(Role::JOINED, b' ').flat_map(|names| parts(names, b'|'));
    names.filter(|name| name.contains(&b'-') || *name == b"unfsd")
}

/// Prints a line about a step.
fn say(what: Text, about: &[u8], why: Text) {
    print(Line::default().say(what).details(about, why).end_line());
}

/// The host, and the options.
struct Host {
    /// Directory of the executable, without a "/" at its end.
    dir: &'static [u8],
    /// Directory of the exports.
    config: &'static [u8],
    /// True if the steps are only printed.
    is_dry: bool,
    /// True if another program's file may be replaced.
    is_forced: bool,
    /// True if links with the names of other programs are made.
    has_links: bool,
    own: Program,
    /// [`FAILED`] after a step that failed without ending the others.
    worst: Result<(), Fatal>,
}

impl Host {
    fn install(&mut self, kind: &Kind) -> Result<(), Fatal> {
        self.put(&kinds::PROGRAM)?;
        let names = self.has_links.then(link_names);
        for name in names.into_iter().flatten() {
            let mut buffer = [0; PATH_BYTES_MAX];
            self.put_link(join(&[self.dir, b"/", name], &mut buffer), c"stowaway")?;
        }
        for step in kind.steps {
            self.put(step)?;
        }
        if kind.is_esxi {
            print(kinds::EXEC_INSTALLED_ONLY.decode(&mut [0; 512]));
            self.command(text!(
                "esxcli system settings kernel list -o execinstalledonly"
            ));
        }
        let mut buffer = [0; INSTALLED_TEXT_BYTES_MAX];
        print(self.fill(kind.next_step, &mut buffer));
        self.worst
    }

    fn uninstall(&mut self, kind: &Kind) -> Result<(), Fatal> {
        for step in kind.steps.iter().rev() {
            self.remove(step)?;
        }
        for name in link_names() {
            let mut buffer = [0; PATH_BYTES_MAX];
            let path = join(&[self.dir, b"/", name], &mut buffer);
            self.remove_as(path, self.find_link(path, c"stowaway"), &Step::PLAIN)?;
        }
        self.remove(&kinds::PROGRAM)?;
        print(
            text!("not removed: logs, and keys of handles in /var/lib/stowaway\n")
                .decode(&mut [0; 128]),
        );
        self.worst
    }

    /// Writes `text` to `buffer`, with the directories in place of `@` (of the executable) and `%` (of the exports).
    fn fill<'b>(&self, text: Text, buffer: &'b mut [u8]) -> &'b [u8] {
        let mut scratch = [0; INSTALLED_TEXT_BYTES_MAX];
        let mut filled = Writer::new(buffer);
        for byte in text.decode(&mut scratch).iter() {
            filled.put(match byte {
                b'@' => self.dir,
                b'%' => self.config,
                byte => core::slice::from_ref(byte),
            });
        }
        let len = filled.written().unwrap_or(0);
        mem::Ends::head(&*buffer, len)
    }

    fn path<'b>(&self, text: Text, buffer: &'b mut PathBuffer) -> &'b CStr {
        let mut scratch = [0; PATH_BYTES_MAX];
        join(&[self.fill(text, &mut scratch)], buffer)
    }

    /// Takes a step of `install`.
    fn put(&mut self, step: &Step) -> Result<(), Fatal> {
        let (mut buffer, mut text) = ([0; PATH_BYTES_MAX], [0; INSTALLED_TEXT_BYTES_MAX]);
        let path = self.path(step.path, &mut buffer);
        let (content, mode) = match step.holds {
            Holds::Link => {
                let mut buffer = [0; PATH_BYTES_MAX];
                let target = self.path(step.text, &mut buffer);
                return self.put_link(path, target);
            }
            Holds::Block => return self.put_block(path, Some(step.text)),
            Holds::Program => (Content::Copy(&self.own), 0o755),
            Holds::Script => (Content::Bytes(self.fill(step.text, &mut text)), 0o755),
            Holds::Text | Holds::Example => {
                (Content::Bytes(self.fill(step.text, &mut text)), 0o644)
            }
        };
        let found = compare(path, &content, MARK);
        match found.map_err(|errno| failed(text!("cannot read"), path.to_bytes(), errno))? {
            Found::Same => say(text!("unchanged"), path.to_bytes(), Text::NOTHING),
            Found::Other | Found::Marked if step.holds == Holds::Example => {
                say(text!("keep"), path.to_bytes(), Text::NOTHING);
            }
            Found::Other if step.holds == Holds::Program && !self.is_forced => {
                let why = text!("another program's file; to replace it, add --force");
                return Err(complain(
                    FAILED,
                    text!("cannot replace"),
                    path.to_bytes(),
                    why,
                ));
            }
            Found::Other if step.holds != Holds::Program => {
                let why = text!("install did not make this file; move it away");
                self.worst = Err(complain(
                    FAILED,
                    text!("cannot replace"),
                    path.to_bytes(),
                    why,
                ));
            }
            _ => {
                let what = if step.holds == Holds::Program {
                    text!("copy this program to")
                } else {
                    text!("write")
                };
                say(what, path.to_bytes(), Text::NOTHING);
                self.act(path, &mut || install::replace(path, &content, mode))?;
                self.command(step.installed);
            }
        }
        Ok(())
    }

    fn put_link(&mut self, path: &CStr, target: &CStr) -> Result<(), Fatal> {
        let (found, about) = (self.find_link(path, target), path.to_bytes());
        match found.map_err(|errno| failed(text!("cannot read"), about, errno))? {
            Found::Missing => {
                say(text!("link"), about, Text::NOTHING);
                let own = &self.own;
                self.act(path, &mut || match install::link(path, target) {
                    // The file system has no links.
                    Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                        install::replace(path, &Content::Copy(own), 0o755)
                    }
                    done => done,
                })?;
            }
            Found::Same => say(text!("unchanged"), about, Text::NOTHING),
            _ => say(text!("keep"), about, text!("another program")),
        }
        Ok(())
    }

    /// Compares a link, or the copy in its place.
    fn find_link(&self, path: &CStr, target: &CStr) -> Result<Found, Errno> {
        match compare_link(path, target.to_bytes())? {
            Found::Other => compare(path, &Content::Copy(&self.own), MARK),
            found => Ok(found),
        }
    }

    /// Takes a step of `uninstall`.
    fn remove(&mut self, step: &Step) -> Result<(), Fatal> {
        let (mut buffer, mut text) = ([0; PATH_BYTES_MAX], [0; INSTALLED_TEXT_BYTES_MAX]);
        let path = self.path(step.path, &mut buffer);
        let found = match step.holds {
            Holds::Block => return self.put_block(path, None),
            Holds::Link => {
                let mut buffer = [0; PATH_BYTES_MAX];
                self.find_link(path, self.path(step.text, &mut buffer))
            }
            Holds::Program => compare(path, &Content::Copy(&self.own), MARK),
            _ => compare(path, &Content::Bytes(self.fill(step.text, &mut text)), MARK),
        };
        self.remove_as(path, found, step)
    }

    /// Removes the file or link at `path` if `install` made it.
    fn remove_as(
        &mut self,
        path: &CStr,
        found: Result<Found, Errno>,
        step: &Step,
    ) -> Result<(), Fatal> {
        let about = path.to_bytes();
        match found.map_err(|errno| failed(text!("cannot read"), about, errno))? {
            Found::Missing => say(text!("absent"), about, Text::NOTHING),
            Found::Same | Found::Marked => {
                self.command(step.removing);
                say(text!("remove"), about, Text::NOTHING);
                self.act(path, &mut || install::remove(path))?;
                if step.holds == Holds::Example && self.config != self.dir {
                    say(
                        text!("remove, if empty,"),
                        install::parent(path),
                        Text::NOTHING,
                    );
                    if !self.is_dry {
                        install::remove_parent(path);
                    }
                }
                self.command(step.removed);
            }
            Found::Other => say(text!("keep"), about, text!("edited, or of another version")),
        }
        Ok(())
    }

    /// Writes the block `text` into the script at `path`, or removes it.
    fn put_block(&mut self, path: &CStr, text: Option<Text>) -> Result<(), Fatal> {
        let about = path.to_bytes();
        let script = match files::read(path, mem::bytes(HOST_SCRIPT_BYTES_MAX + 1)) {
            Err(Errno::NOENT) if text.is_none() => {
                say(text!("absent"), about, Text::NOTHING);
                return Ok(());
            }
            read => read.map_err(|errno| failed(text!("cannot read"), about, errno))?,
        };
        let mut buffer = [0; INSTALLED_TEXT_BYTES_MAX];
        let lines = match text {
            Some(text) => self.fill(text, &mut buffer),
            None => b"",
        };
        let mut edited = Writer::new(mem::bytes(HOST_SCRIPT_BYTES_MAX + INSTALLED_TEXT_BYTES_MAX));
        if script.len() > HOST_SCRIPT_BYTES_MAX
            || block::replace(script, lines, &mut edited).is_none()
        {
            let why = text!(
                "longer than 64 KiB, or the line \"# stowaway end\" is missing; edit the file"
            );
            return Err(complain(FAILED, text!("cannot change"), about, why));
        }
        let edited = edited.since(0);
        if edited == script {
            say(text!("unchanged"), about, Text::NOTHING);
            return Ok(());
        }
        say(
            text!("change the lines of stowaway in"),
            about,
            Text::NOTHING,
        );
        self.act(path, &mut || install::overwrite(path, edited))
    }

    /// Calls `act`, which changes `path`, unless the steps are only printed.
    fn act(&self, path: &CStr, act: &mut dyn FnMut() -> Result<(), Errno>) -> Result<(), Fatal> {
        if self.is_dry {
            return Ok(());
        }
        act().map_err(|errno| failed(text!("cannot change"), path.to_bytes(), errno))
    }

    /// Runs a command, which may be empty. A failure is reported, and the next steps are taken.
    fn command(&mut self, command: Text) {
        let mut buffer = [0; PATH_BYTES_MAX];
        let line = self.fill(command, &mut buffer);
        if line.is_empty() {
            return;
        }
        say(text!("run"), line, Text::NOTHING);
        if self.is_dry {
            return;
        }
        let mut words = Args::split(line);
        let name = words.next().unwrap_or_default();
        let words: heapless::Vec<&CStr, 7> = words.take(7).collect();
        match install::run(name, &words) {
            Ok(0) => {}
            Ok(_) => self.worst = Err(complain(FAILED, text!("failed:"), line, Text::NOTHING)),
            Err(errno) => self.worst = Err(failed(text!("cannot run"), name.to_bytes(), errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::kinds::KINDS;
    use super::*;

    #[test]
    fn directory_has_no_signs_of_the_shell() {
        for (text, expect) in [
            (&b"/opt/x"[..], Some(&b"/opt/x"[..])),
            (
                b"/vmfs/volumes/5f-1/a_b+c.d/",
                Some(b"/vmfs/volumes/5f-1/a_b+c.d"),
            ),
            (b"/", Some(b"")),
            (b"", None),
            (b"opt", None),
            (b"/a b", None),
            (b"/a\"", None),
            (b"/$a", None),
            (b"/a\n", None),
            (b"/%", None),
            (&[b'/'; 129], None),
        ] {
            assert_eq!(directory(text), expect);
        }
    }

    #[test]
    fn links_are_names_of_other_programs() {
        let names: Vec<_> = link_names()
            .map(|name| core::str::from_utf8(name).unwrap())
            .collect();
        for name in [
            "unfsd",
            "sftp-server",
            "avahi-browse",
            "avahi-publish-address",
        ] {
            assert!(names.contains(&name), "{names:?}");
        }
        for name in ["nfs", "ls", "cat", "init", "install", ""] {
            assert!(!names.contains(&name), "{names:?}");
        }
    }

    #[test]
    fn every_text_fits_with_the_longest_directory() {
        let dir: &'static [u8] = &[b'/'; INSTALL_DIR_BYTES_MAX];
        let host = Host {
            dir,
            config: dir,
            is_dry: true,
            is_forced: false,
            has_links: true,
            own: Program::own().unwrap(),
            worst: Ok(()),
        };
        for step in KINDS.iter().flat_map(|kind| kind.steps) {
            assert!(
                !host
                    .fill(step.text, &mut [0; INSTALLED_TEXT_BYTES_MAX])
                    .is_empty()
            );
            assert!(!host.path(step.path, &mut [0; PATH_BYTES_MAX]).is_empty());
            for command in [step.installed, step.removing, step.removed] {
                let line = host.fill(command, &mut [0; PATH_BYTES_MAX]).len();
                assert!(command == Text::NOTHING || line > 0);
            }
            let marked = matches!(step.holds, Holds::Script | Holds::Text);
            let mark = core::str::from_utf8(MARK).unwrap();
            assert_eq!(step.text.known().contains(mark), marked);
        }
    }
}
