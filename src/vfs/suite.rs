//! The laws of a tree: one function each, run for every backend.

use super::host::Form;
use super::{Change, Detail, FileTime, FsResult, Make, Name, Node, Right, Vfs};
use content::*;
use core::ops::ControlFlow;
use making::*;
use names::*;
use reading::*;
use worlds::{OnHost, World, ram};

mod content;
mod making;
mod names;
mod reading;
mod worlds;

macro_rules! laws {
    ($($law:ident)*) => {
        mod on_ram {
            $(#[test] fn $law() {
                let mut ram = super::ram();
                super::$law(&mut ram);
                ram.check();
            })*
        }
        mod on_host_with_trails {
            $(#[test] fn $law() { super::$law(&mut super::OnHost::new(stringify!($law), super::Form::Trail).unwrap()); })*
        }
        mod on_host_with_kernel_handles {
            $(#[test] fn $law() {
                if let Some(mut world) = super::OnHost::new(stringify!($law), super::Form::Kernel) {
                    super::$law(&mut world);
                }
            })*
        }
    };
}

laws! {
    attributes_tell_what_an_object_is
    names_are_found_one_by_one
    what_is_no_directory_has_no_names
    reads_end_where_the_file_ends
    reads_reach_beyond_four_gibibytes
    only_regular_files_are_read
    links_are_read_and_never_followed
    a_listing_is_complete_from_any_cookie
    listed_handles_are_those_of_lookup
    handles_outlive_a_restart
    a_removed_object_is_stale
    strange_handles_are_refused
    rights_are_those_of_the_server
    a_pin_outlives_rest
    what_the_owner_changes_is_seen_by_the_next_request

    what_is_written_is_read_at_any_offset
    a_write_of_nothing_changes_nothing
    a_file_ends_where_offsets_end
    a_new_size_cuts_or_adds_zeros
    attributes_change_one_by_one
    times_are_set_to_the_nanosecond_or_to_now
    only_a_file_has_a_size
    a_removed_file_can_be_written_to_while_it_is_pinned
    what_is_written_through_one_name_is_read_through_another
    a_read_only_export_refuses_every_change

    what_is_made_is_there_with_its_attributes
    what_is_made_begins_with_its_change
    what_is_made_belongs_to_its_maker
    a_directory_hands_its_group_down
    devices_are_made_by_the_privileged
    targets_of_links_are_kept_byte_by_byte
    a_name_is_made_once
    nothing_is_made_in_what_is_no_directory
    what_is_made_is_listed_under_its_handle

    a_name_is_removed_as_what_it_is
    what_is_gone_before_it_settles_is_no_failure
    what_lost_its_last_name_is_stale
    removing_what_was_listed_loses_nothing_of_the_rest
    renaming_follows_the_table
    a_moved_directory_knows_its_new_parent
    handles_survive_a_rename_within_the_directory
    names_are_counted
    changes_of_names_move_times
    names_may_be_255_bytes_long
}

fn walk(vfs: &mut dyn Vfs, path: &str) -> FsResult<Node> {
    let root = vfs.root(0)?;
    path.split('/')
        .filter(|name| !name.is_empty())
        .try_fold(root, |dir, name| {
            vfs.lookup(dir, Name::new(name.as_bytes())?)
        })
}

/// The tree, which clients may change from now on.
fn writable(world: &mut dyn World) -> &mut dyn Vfs {
    world.make_writable();
    world.vfs()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

/// The directory of a path, and the name in it.
fn split<'a>(vfs: &mut dyn Vfs, path: &'a str) -> (Node, Name<'a>) {
    let (dir, last) = path.rsplit_once('/').unwrap_or(("", path));
    (walk(vfs, dir).unwrap(), name(last))
}

/// Makes an object with a mode that suits it.
fn make(vfs: &mut dyn Vfs, path: &str, make: Make<'_>) -> FsResult<Node> {
    let mode = if make == Make::Directory {
        0o755
    } else {
        0o644
    };
    let (dir, name) = split(vfs, path);
    let change = Change {
        mode: Some(mode),
        ..Change::default()
    };
    vfs.create(dir, name, make, &change)
}

/// Makes a file of these bytes.
fn put(vfs: &mut dyn Vfs, path: &str, bytes: &[u8]) {
    let node = make(vfs, path, Make::File).unwrap();
    write(vfs, node, 0, bytes).unwrap();
}

fn read(vfs: &mut dyn Vfs, node: Node, offset: u64, out: &mut [u8]) -> FsResult<usize> {
    let pin = vfs.pin(node, Some(Right::Read))?;
    let got = vfs.read(&pin, offset, out);
    vfs.unpin(pin);
    got
}

fn write(vfs: &mut dyn Vfs, node: Node, offset: u64, bytes: &[u8]) -> FsResult<()> {
    let pin = vfs.pin(node, Some(Right::Write))?;
    let written = vfs.write(&pin, offset, bytes);
    let synced = vfs.sync(&pin);
    vfs.unpin(pin);
    written.and(synced)
}

/// A time that can be compared.
const fn instant(time: FileTime) -> (i64, u32) {
    (time.secs, time.nanos)
}

/// All that a small file has in it.
fn content(vfs: &mut dyn Vfs, node: Node) -> Vec<u8> {
    let mut out = vec![0; 1 << 16];
    let len = read(vfs, node, 0, &mut out).unwrap();
    out.truncate(len);
    out
}

fn list(vfs: &mut dyn Vfs, dir: Node, from: u64, page: usize) -> (Vec<(Vec<u8>, u64)>, bool) {
    let mut names = Vec::new();
    let end = vfs.readdir(dir, from, Detail::Names, &mut |entry| {
        if names.len() == page {
            return ControlFlow::Break(());
        }
        names.push((entry.name.to_vec(), entry.cookie));
        ControlFlow::Continue(())
    });
    (names, end.unwrap())
}
