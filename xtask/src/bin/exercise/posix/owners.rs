//! Laws for permissions: which user may do what with another user's files.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown};
use std::path::Path;

use anyhow::Result;
use nix::unistd::{AccessFlags, access};

use super::people::{ALL, CLUB, MEMBER, OTHER, OWNER, Person, ROOT};
use super::scene::{Scene, name_of};

const MODES: [u32; 13] = [
    0o000, 0o400, 0o200, 0o100, 0o040, 0o020, 0o010, 0o004, 0o002, 0o001, 0o070, 0o707, 0o777,
];

fn set_owner_and_mode(path: &Path, person: &Person, mode: u32) -> Result<()> {
    chown(path, Some(person.id), person.groups.first().copied())?;
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

fn yes_or_error<T>(outcome: std::io::Result<T>) -> String {
    outcome.map_or_else(|error| name_of(&error), |_| "ok".to_owned())
}

/// The rights that access(2) reports, as in `r-x`.
fn reported_access(path: &Path) -> String {
    [
        ('r', AccessFlags::R_OK),
        ('w', AccessFlags::W_OK),
        ('x', AccessFlags::X_OK),
    ]
    .map(|(letter, flag)| {
        if access(path, flag).is_ok() {
            letter
        } else {
            '-'
        }
    })
    .iter()
    .collect()
}

/// Tries access(2), read, write and truncate on the owner's file, for each mode and user.
pub fn access_to_files(scene: &Scene) -> Result<()> {
    scene.file("file", b"content")?;
    let path = scene.path("file");
    for mode in MODES {
        set_owner_and_mode(&path, &OWNER, mode)?;
        for person in ALL {
            let line = person.run_as(|| {
                format!(
                    "{}, read {}, write {}, truncate {}",
                    reported_access(&path),
                    yes_or_error(fs::read(&path)),
                    yes_or_error(
                        File::options()
                            .write(true)
                            .open(&path)
                            .and_then(|f| f.write_all_at(b"C", 0))
                    ),
                    yes_or_error(nix::unistd::truncate(&path, 7).map_err(Into::into)),
                )
            })?;
            scene.print_value(format!("{mode:03o} for {}", person.name), line);
        }
    }
    Ok(())
}

/// Tries access(2), readdir, lookup, create and unlink in the owner's directory, for each mode and user.
pub fn access_to_directories(scene: &Scene) -> Result<()> {
    scene.directory("directory")?;
    scene.file("directory/inside", b"content")?;
    let path = scene.path("directory");
    for mode in MODES {
        set_owner_and_mode(&path, &OWNER, mode)?;
        for person in ALL {
            let line = person.run_as(|| {
                let new = path.join("new");
                format!(
                    "{}, list {}, find {}, make {}, remove {}",
                    reported_access(&path),
                    yes_or_error(fs::read_dir(&path)),
                    yes_or_error(fs::metadata(path.join("inside"))),
                    yes_or_error(File::create_new(&new)),
                    yes_or_error(fs::remove_file(&new)),
                )
            })?;
            scene.print_value(format!("{mode:03o} for {}", person.name), line);
        }
    }
    Ok(())
}

/// Only the owner and root may change the mode.
pub fn changing_modes(scene: &Scene) -> Result<()> {
    scene.file("file", b"")?;
    scene.directory("directory")?;
    for name in ["file", "directory"] {
        for person in ALL {
            for mode in [0o700, 0o2770, 0o4711, 0o1777] {
                set_owner_and_mode(&scene.path(name), &OWNER, 0o644)?;
                let outcome = person.run_as(|| {
                    fs::set_permissions(scene.path(name), Permissions::from_mode(mode))
                })?;
                scene.print_outcome_on(
                    name,
                    format!("{} makes {name} {mode:04o}", person.name),
                    outcome,
                );
            }
        }
    }
    // chmod drops the setgid bit if the file's group is not one of the caller's groups.
    for name in ["file", "directory"] {
        set_owner_and_mode(&scene.path(name), &OWNER, 0o644)?;
        chown(scene.path(name), None, Some(OTHER.id))?;
        let outcome = OWNER
            .run_as(|| fs::set_permissions(scene.path(name), Permissions::from_mode(0o2755)))?;
        scene.print_outcome_on(
            name,
            format!("owner makes {name} of another group 2755"),
            outcome,
        );
    }
    Ok(())
}

/// Only root may change the owner; the owner may change the group to another of its own groups.
pub fn changing_owners(scene: &Scene) -> Result<()> {
    scene.file("file", b"")?;
    let path = scene.path("file");
    for person in ALL {
        for (words, user, group) in [
            ("to another", Some(OTHER.id), None),
            ("to the club", None, Some(CLUB)),
            ("to a foreign group", None, Some(OTHER.id)),
            ("to its owner", Some(OWNER.id), None),
            ("to its owner and group", Some(OWNER.id), Some(OWNER.id)),
            ("to nobody in particular", None, None),
            ("to both", Some(OTHER.id), Some(OTHER.id)),
        ] {
            for mode in [0o6755, 0o2644] {
                if (user, group, mode) == (None, None, 0o6755) {
                    // Skipped: chown(-1, -1) changes no owner. The kernel does not ask the file system for permission.
                    continue;
                }
                set_owner_and_mode(&path, &OWNER, mode)?;
                let outcome = person.run_as(|| chown(&path, user, group))?;
                scene.print_outcome_on(
                    "file",
                    format!("{} gives {mode:04o} {words}", person.name),
                    outcome,
                );
            }
        }
    }
    Ok(())
}

/// A write clears the setuid bit, and the setgid bit of an executable file.
pub fn special_bits(scene: &Scene) -> Result<()> {
    scene.file("file", b"content")?;
    let path = scene.path("file");
    for person in [&ROOT, &OWNER, &OTHER] {
        for mode in [0o6777, 0o4777, 0o2777, 0o2767, 0o6666] {
            type Act = fn(&Path) -> std::io::Result<()>;
            let acts: [(&str, Act); 5] = [
                ("writes", |path| {
                    let mut file = File::options().write(true).open(path)?;
                    file.write_all(b"c")?;
                    file.sync_all()
                }),
                ("writes nothing", |path| {
                    File::options().write(true).open(path)?.write(b"").map(drop)
                }),
                ("truncates", |path| Ok(nix::unistd::truncate(path, 5)?)),
                ("opens to truncate", |path| File::create(path).map(drop)),
                ("appends", |path| {
                    let mut file = File::options().append(true).open(path)?;
                    file.write_all(b"more")?;
                    file.sync_all()
                }),
            ];
            for (word, act) in acts {
                fs::write(&path, b"content")?;
                set_owner_and_mode(&path, &OWNER, mode)?;
                let outcome = person.run_as(|| act(&path))?;
                scene.print_outcome_on(
                    "file",
                    format!("{} {word} {mode:04o}", person.name),
                    outcome,
                );
            }
        }
    }
    Ok(())
}

/// New files in a setgid directory get the directory's group.
pub fn inherited_groups(scene: &Scene) -> Result<()> {
    for (name, mode) in [("plain", 0o777), ("setgid", 0o2777), ("sticky", 0o1777)] {
        scene.directory(name)?;
        set_owner_and_mode(&scene.path(name), &OWNER, mode)?;
        chown(scene.path(name), None, Some(CLUB))?;
        fs::set_permissions(scene.path(name), Permissions::from_mode(mode))?;
        for person in ALL {
            let file = format!("{name}/file-{}", person.name);
            let directory = format!("{name}/directory-{}", person.name);
            let link = format!("{name}/link-{}", person.name);
            let made = person.run_as(|| -> Result<()> {
                scene.file(&file, b"")?;
                scene.directory(&directory)?;
                scene.symlink("x", &link)
            })?;
            made?;
            for made in [file, directory, link] {
                scene.stat(&made);
            }
        }
    }
    Ok(())
}

/// In a sticky directory, only the file's owner, the directory's owner and root may remove or rename a file.
pub fn sticky_directories(scene: &Scene) -> Result<()> {
    for (holder, whose) in [(&ROOT, "root's"), (&OWNER, "the owner's")] {
        let inner = scene.inner(whose)?;
        set_owner_and_mode(&inner.path(""), holder, 0o1777)?;
        for person in ALL {
            for (what, target) in [
                ("remove", None),
                ("rename", Some("new")),
                ("replace", Some("own")),
            ] {
                inner.file("file", b"member's")?;
                set_owner_and_mode(&inner.path("file"), &MEMBER, 0o666)?;
                inner.file("own", b"own")?;
                set_owner_and_mode(&inner.path("own"), person, 0o666)?;
                let outcome = person.run_as(|| match (what, target) {
                    ("replace", Some(target)) => fs::rename(inner.path(target), inner.path("file")),
                    (_, Some(target)) => fs::rename(inner.path("file"), inner.path(target)),
                    _ => fs::remove_file(inner.path("file")),
                })?;
                inner.print_outcome(format!("{} may {what} member's", person.name), outcome);
                inner.print_tree("leaves");
                for name in ["file", "own", "new"] {
                    // Fails for files that do not exist, which depends on which call was allowed.
                    let _ = fs::remove_file(inner.path(name));
                }
            }
            let directory = inner.path("directory");
            fs::create_dir(&directory)?;
            set_owner_and_mode(&directory, &MEMBER, 0o777)?;
            let outcome = person.run_as(|| fs::remove_dir(&directory))?;
            inner.print_outcome(
                format!("{} may remove member's directory", person.name),
                outcome,
            );
            let _ = fs::remove_dir(&directory);
        }
    }
    Ok(())
}

/// An open descriptor stays usable after chmod and chown.
pub fn descriptors_outlive_permission(scene: &Scene) -> Result<()> {
    for person in ALL {
        let name = format!("of-{}", person.name);
        scene.file(&name, b"content")?;
        let path = scene.path(&name);
        set_owner_and_mode(&path, &OWNER, 0o666)?;
        let opened = person.run_as(|| File::options().read(true).write(true).open(&path))?;
        let mut file = opened?;
        set_owner_and_mode(&path, &OWNER, 0o000)?;
        let (written, synced, read) = person.run_as(|| {
            let written = file.write_all(b"CON");
            let synced = file.sync_all();
            let mut rest = String::new();
            let read = file.read_to_string(&mut rest).map(|_| rest);
            (written, synced, read)
        })?;
        scene.print_outcome(format!("{} writes after chmod", person.name), written);
        scene.print_outcome(format!("{} syncs", person.name), synced);
        scene.print_result(format!("{} reads", person.name), read);
        scene.print_result(format!("{} left", person.name), fs::read_to_string(&path));
    }
    Ok(())
}

/// A path lookup needs search permission on every directory of the path.
pub fn paths_that_may_not_be_searched(scene: &Scene) -> Result<()> {
    scene.directory("outer")?;
    scene.directory("outer/inner")?;
    scene.file("outer/inner/file", b"content")?;
    fs::set_permissions(scene.path("outer/inner"), Permissions::from_mode(0o777))?;
    fs::set_permissions(
        scene.path("outer/inner/file"),
        Permissions::from_mode(0o666),
    )?;
    for mode in [0o700, 0o744, 0o711] {
        set_owner_and_mode(&scene.path("outer"), &OWNER, mode)?;
        for person in ALL {
            let file = scene.path("outer/inner/file");
            let line = person.run_as(|| {
                format!(
                    "find {}, write {}, list {}, mkdir {}, rename {}, link {}",
                    yes_or_error(fs::metadata(&file)),
                    yes_or_error(fs::write(&file, b"content")),
                    yes_or_error(fs::read_dir(scene.path("outer"))),
                    yes_or_error(fs::create_dir(scene.path("outer/inner/new"))),
                    yes_or_error(fs::rename(
                        scene.path("outer/inner/new"),
                        scene.path("outer/inner/other")
                    )),
                    yes_or_error(fs::hard_link(&file, scene.path("outer/inner/link"))),
                )
            })?;
            scene.print_value(format!("{mode:03o} for {}", person.name), line);
            let _ = fs::remove_dir(scene.path("outer/inner/other"));
            let _ = fs::remove_file(scene.path("outer/inner/link"));
        }
    }
    Ok(())
}
