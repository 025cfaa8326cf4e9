//! The contents of ISO images over NFS and SFTP, compared with Linux' view: a Debian kernel in QEMU mounts the same images itself.
//! Other tests boot a system from the inside of an image.
//!
//! As in `guest`, all tests share one virtual machine, except those that boot a machine of their own.

mod images;
mod live;
mod made;
mod reads;
mod same;
mod udf;
mod world;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use xtask::build::Arch;
use xtask::machines::server::root_for;

use images::{HUGE, IMAGES};
use world::World;

type Test = Box<dyn Fn(&mut World) -> Result<()> + Send>;
type Other = fn(&mut World) -> Result<()>;

/// Tests that run once, not for each image.
const OTHERS: &[(&str, Other)] = &[
    ("a_directory_of_20000_is_listed", same::compare_crowd),
    (
        "a_directory_of_an_image_is_mounted",
        same::compare_directory,
    ),
    ("one_image_alone_is_exported", same::compare_single_image),
    ("live_boot_starts_a_system_from_an_image", live::as_it_is),
    ("nfs_reads_anywhere_with_flat_memory", reads::over_nfs),
    ("sshfs_reads_anywhere_with_flat_memory", reads::over_sshfs),
];

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let listing = arguments.list;
    if !listing && !root_for("a Linux client with port 111 in a network namespace") {
        return Ok(ExitCode::SUCCESS);
    }
    let world = if listing { None } else { Some(World::new()?) };
    let world = Arc::new(Mutex::new(world));
    let trial = |name: String, test: Test| {
        let world = world.clone();
        Trial::test(name, move || {
            let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
            let world = world
                .as_mut()
                .ok_or("no guest runs while tests are listed")?;
            test(world).map_err(|error| format!("{error:#}").into())
        })
    };
    let mut trials = Vec::new();
    let word = |image: &str| image.replace(|letter: char| !letter.is_alphanumeric(), "_");
    let made = made::names().chain(udf::names());
    for image in IMAGES.into_iter().chain(made) {
        let name = word(image);
        trials.push(trial(
            format!("nfs_and_linux_agree_on_{name}"),
            Box::new(move |world| same::over_nfs(world, image)),
        ));
    }
    // One reader of images serves both protocols, so SFTP needs only images of each kind of writer.
    for image in IMAGES.into_iter().chain(udf::BRIDGES) {
        let name = word(image);
        trials.push(trial(
            format!("sftp_and_linux_agree_on_{name}"),
            Box::new(move |world| same::over_sftp(world, image, Arch::X86_64)),
        ));
    }
    for image in ["genisoimage-moved.iso", HUGE] {
        trials.push(trial(
            format!("i686_server_and_linux_agree_on_{}", word(image)),
            Box::new(move |world| same::by_i686(world, image)),
        ));
    }
    for (name, test) in OTHERS {
        trials.push(trial((*name).into(), Box::new(test)));
    }
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}
