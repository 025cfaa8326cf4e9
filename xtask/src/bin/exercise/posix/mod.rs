//! `exercise posix DIR`: prints the results of POSIX calls, one line each: `USER LAW: ACTION: RESULT`. Must run as root.
//!
//! A *law* is a function that makes calls about one topic of POSIX and prints their results. The laws cover what pjdfstest does not
//! test, mainly EACCES and EPERM. There are no expected results: a test runs the laws on two file systems and compares the lines.
//! So a line has error names, modes, sizes and which timestamps advanced, but no times, inode numbers or paths.

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
    /// Run only the laws whose names contain this
    #[arg(long)]
    only: Option<String>,
}

type Law = fn(&Scene) -> Result<()>;

macro_rules! laws {
    ($($module:ident::$law:ident,)+) => {
        &[$((concat!(stringify!($module), ".", stringify!($law)), $module::$law as Law)),+]
    };
}

/// Laws that run twice, once as root and once as a user, each in a directory of its own.
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

/// Laws with several users. The directory belongs to root and is accessible to all.
const PEOPLE: &[(&str, Law)] = laws![
    owners::access_to_files,
    owners::access_to_directories,
    owners::changing_modes,
    owners::changing_owners,
    owners::special_bits,
    owners::inherited_groups,
    owners::sticky_directories,
    owners::descriptors_outlive_permission,
    owners::paths_that_may_not_be_searched,
];

/// Prints all lines. A law that fails to run ends with a line `stopped` and the error.
pub fn main(args: Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "exercise posix must run as root, because it acts as several users"
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
    let directory = args.directory.join(format!("{who}-{name}"));
    let scene = Scene::new(format!("{who} {name}"), directory, person)?;
    let _acting = person.act()?;
    if let Err(error) = law(&scene) {
        println!("{who} {name}: stopped: {error:#}");
    }
    Ok(())
}
