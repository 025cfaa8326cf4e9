//! `exercise posix DIR`: what the calls of POSIX do in a directory, a line each: `who law: what was done: what came of it`.
//!
//! It does not know what is right. Two file systems are alike when it prints the same lines on both; so a line holds
//! names of errors, modes, sizes and which times advanced, never a time, an inode or a path. It must run as root.

mod data;
mod directories;
mod linking;
mod modes;
mod names;
mod opening;
mod owners;
mod people;
mod renaming;
mod scene;
mod special;
mod times;

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
    opening::flags,
    opening::exclusive_creation,
    opening::descriptors,
    data::sizes,
    data::appending,
    data::holes,
    data::mappings,
    data::file_without_a_name,
    data::renamed_while_open,
    renaming::onto_everything,
    renaming::onto_itself,
    renaming::into_itself,
    renaming::odd_paths,
    renaming::flags,
    linking::hard_links,
    linking::link_counts,
    linking::symbolic_links,
    linking::loops,
    directories::making_and_removing,
    directories::listing,
    directories::odd_paths,
    names::lengths,
    names::odd_bytes,
    modes::every_mode,
    modes::masks,
    modes::read_only_file_through_its_descriptor,
    times::of_files,
    times::of_names,
    times::set,
    special::fifos_and_sockets,
    special::devices,
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
    owners::setting_times,
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
