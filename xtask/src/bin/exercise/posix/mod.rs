//! `exercise posix DIR`: what the calls of POSIX do in a directory, a line each: `who law: what was done: what came of it`.
//!
//! Only what pjdfstest leaves out: it knows no EACCES and hardly an EPERM. It does not know what is right. Two file systems are alike when it prints the same lines on both; so a line holds
//! names of errors, modes, sizes and which times advanced, never a time, an inode or a path. It must run as root.

mod files;
mod owners;
mod people;
mod scene;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use nix::sys::stat::{Mode, umask};

use people::{OWNER, Person, ROOT};
use scene::Scene;

/// `exercise posix`
#[derive(clap::Args)]
pub struct Args {
    /// An empty directory
    directory: PathBuf,
    /// Only the laws with such names
    #[arg(long)]
    only: Option<String>,
}

type Law = fn(&Scene) -> Result<()>;

macro_rules! laws {
    ($($module:ident::$law:ident,)+) => {
        &[$((concat!(stringify!($module), ".", stringify!($law)), $module::$law as Law)),+]
    };
}

/// What root sees and what a user sees in a directory of their own.
const EVERYBODY: &[(&str, Law)] = laws![
    files::appending,
    files::file_without_a_name,
    files::renamed_while_open,
    files::exclusive_creation,
    files::read_only_file_through_its_descriptor,
    files::onto_itself,
    files::times,
    files::last_second,
    files::targets,
    files::devices,
];

/// What several people see of each other. The directory belongs to root, and everybody may enter it.
const PEOPLE: &[(&str, Law)] = laws![
    owners::who_may_do_what,
    owners::access_to_directories,
    owners::changing_modes,
    owners::changing_owners,
    owners::special_bits,
    owners::inherited_groups,
    owners::sticky_directories,
    owners::descriptors_outlive_permission,
    owners::paths_that_may_not_be_searched,
];

/// Prints all lines. A law that cannot be shown ends with a line that says `stopped`.
pub fn main(args: Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "only root can be several users"
    );
    umask(Mode::from_bits_truncate(0o022));
    for (who, person, laws) in [
        ("root", &ROOT, EVERYBODY),
        ("user", &OWNER, EVERYBODY),
        ("people", &ROOT, PEOPLE),
    ] {
        for (name, law) in laws {
            if args.only.as_ref().is_none_or(|only| name.contains(only)) {
                obey(&args, who, person, name, *law)
                    .with_context(|| format!("before {who} {name}"))?;
            }
        }
    }
    Ok(())
}

fn obey(args: &Args, who: &str, person: &Person, name: &str, law: Law) -> Result<()> {
    let place = args.directory.join(format!("{who}-{name}"));
    let scene = Scene::new(format!("{who} {name}"), place, person)?;
    let _acting = person.act()?;
    if let Err(error) = law(&scene) {
        println!("{who} {name}: stopped: {error:#}");
    }
    Ok(())
}
