//! The conformance tests of a tree: one function each, run for every backend.

use super::host::Form;
use super::{
    Access, Caller, CreateWhat, Detail, FileTime, FsError, FsResult, Job, Name, Node, Scope,
    SetAttr, Submitted, Tree,
};
use content::*;
use core::ops::ControlFlow;
use images::*;
use making::*;
use names::*;
use paths::*;
use reading::*;
use storing::*;
use worlds::{OfUser, OnHost, OnRam, Surroundings, World};

mod content;
mod exported_images;
mod images;
mod making;
mod names;
mod paths;
mod reading;
mod storing;
mod worlds;

macro_rules! with_ram {
    ($($test:ident)*) => {
        $(#[test] fn $test() {
            let mut world = super::super::OnRam::new();
            super::super::$test(&mut world);
            world.check();
        })*
    };
}

macro_rules! with_user {
    ($starts_at_tree:literal $jail:expr, $is_old:literal, $is_bare:literal; $($test:ident)*) => {
        $(#[test] fn $test() {
            let around = super::super::Surroundings { jail: $jail, is_old: $is_old, is_bare: $is_bare };
            super::super::OfUser::hold(stringify!($test), around, $starts_at_tree, super::super::$test);
        })*
    };
}

/// Conformance tests of what is inside images, named by handles: the model knows none.
macro_rules! tests_of_images {
    ($($test:ident)*) => {
        mod on_host_with_path_handles {
            $(#[test] fn $test() {
                super::super::$test(&mut super::super::OnHost::new(stringify!($test), super::super::Form::Path).unwrap());
            })*
        }
        mod on_host_with_kernel_handles {
            $(#[test] fn $test() {
                if let Some(mut world) = super::super::OnHost::new(stringify!($test), super::super::Form::Kernel) {
                    super::super::$test(&mut world);
                }
            })*
        }
    };
}

/// Conformance tests of objects that are named by handles.
macro_rules! tests_of_handles {
    ($($test:ident)*) => {
        mod on_ram { with_ram! { $($test)* } }
        tests_of_images! { $($test)* }
    };
}

/// Conformance tests of objects, whatever they are named by.
macro_rules! tests_of_objects {
    ($($test:ident)*) => {
        tests_of_handles! { $($test)* }
        mod of_user { with_user! { true None, false, false; $($test)* } }
        mod of_user_on_an_old_kernel { with_user! { true None, true, false; $($test)* } }
        mod in_jail { with_user! { true Some("/"), false, false; $($test)* } }
    };
}

/// Conformance tests of paths.
macro_rules! tests_of_paths {
    ($($test:ident)*) => {
        mod on_ram { with_ram! { $($test)* } }
        mod of_user { with_user! { false None, false, false; $($test)* } }
        mod of_user_on_an_old_host { with_user! { false None, true, true; $($test)* } }
        mod in_jail { with_user! { false Some("/"), false, false; $($test)* } }
        mod in_jail_on_an_old_host { with_user! { false Some("/"), true, true; $($test)* } }
        mod in_jail_shown_elsewhere { with_user! { false Some("/some/where"), false, false; $($test)* } }
        mod in_jail_shown_elsewhere_on_an_old_kernel { with_user! { false Some("/some/where/"), true, false; $($test)* } }
    };
}

mod handles {
    tests_of_handles! {
        listed_handles_are_those_of_lookup
        handles_outlive_a_restart
        a_removed_object_is_stale
        strange_handles_are_refused
        rights_are_those_of_the_server
        what_the_owner_changes_is_seen_by_the_next_request

        a_read_only_export_refuses_every_change

        what_is_made_belongs_to_its_maker
        what_is_made_is_listed_under_its_handle

        what_lost_its_last_name_is_stale
        a_moved_directory_knows_its_new_parent
        parents_lead_up_to_the_top
        handles_survive_a_rename_within_the_directory
    }
}

mod objects {
    tests_of_objects! {
        attributes_tell_what_an_object_is
        names_are_found_one_by_one
        what_is_no_directory_has_no_names
        reads_end_where_the_file_ends
        reads_reach_beyond_four_gibibytes
        only_regular_files_are_read
        links_are_read_and_never_followed
        a_listing_is_complete_from_any_cookie
        listed_attributes_are_those_of_lookup
        a_pin_outlives_release_idle

        what_is_written_is_read_at_any_offset
        a_write_of_nothing_changes_nothing
        a_file_ends_where_offsets_end
        a_new_size_cuts_or_adds_zeros
        attributes_change_one_by_one
        times_are_set_to_the_nanosecond_or_to_now
        only_a_file_has_a_size
        a_removed_file_can_be_written_to_while_it_is_pinned
        what_is_written_through_one_name_is_read_through_another

        what_is_made_is_there_with_its_attributes
        what_is_made_begins_with_its_change
        a_directory_hands_its_group_down
        devices_are_made_by_the_privileged
        targets_of_links_are_kept_byte_by_byte
        a_name_is_made_once
        nothing_is_made_in_what_is_no_directory

        a_name_is_removed_as_what_it_is
        what_is_gone_before_it_is_committed_is_no_failure
        removing_what_was_listed_loses_nothing_of_the_rest
        renaming_follows_the_table
        renaming_without_replacing_takes_no_name_away
        names_are_counted
        changes_of_names_move_times
        names_may_be_255_bytes_long
    }
}

mod by_path {
    tests_of_paths! {
        paths_lead_through_directories
        what_no_path_leads_to_is_told_apart
        links_lead_as_if_their_target_stood_there
        forty_links_are_followed
        nothing_is_above_the_top
        true_paths_have_neither_links_nor_dots
        opening_follows_its_flags
        what_is_made_by_its_path_is_there
        an_exclusive_name_is_new
        nothing_but_files_and_directories_is_opened
        what_is_appended_goes_to_the_end
        objects_of_paths_are_changed
    }
}

/// The same, whatever it is named by.
macro_rules! tests_of_entering {
    ($($test:ident)*) => {
        tests_of_images! { $($test)* }
        mod of_user { with_user! { true None, false, false; $($test)* } }
        mod of_user_on_an_old_kernel { with_user! { true None, true, false; $($test)* } }
        mod in_jail { with_user! { true Some("/"), false, false; $($test)* } }
        mod in_jail_on_an_old_host { with_user! { true Some("/"), true, true; $($test)* } }
    };
}

mod inside {
    tests_of_entering! {
        an_image_is_a_file_to_all_but_who_enters_it
        a_link_to_an_image_is_not_entered
        what_is_inside_is_what_the_image_says
        a_listing_inside_goes_on_after_any_entry
        nothing_inside_can_be_changed
        an_image_that_changes_is_stale
        what_is_pinned_inside_outlives_release_idle
        more_images_than_can_be_open_take_turns
        what_is_no_image_is_told_apart
        a_directory_named_like_an_image_is_none
        a_file_that_ends_behind_its_image_is_not_pinned
    }
}

/// Conformance tests of descriptors and of threads: the model has none.
mod open_objects {
    tests_of_images! {
        release_idle_tells_whether_more_is_open
        what_was_let_go_is_stale_also_for_changes
        what_was_moved_out_has_no_parent

        bytes_that_a_worker_stores_are_in_the_file
        more_writes_than_workers_take_are_stored_in_place
        writes_that_workers_cannot_store_fail
    }

    #[test]
    fn a_search_is_for_its_own_handle() {
        let test = "a_search_is_for_its_own_handle";
        let mut world = super::OnHost::new(test, super::Form::Path).unwrap();
        super::a_search_is_for_its_own_handle(&mut world);
    }
}

mod inside_by_handle {
    tests_of_images! {
        handles_inside_outlive_a_restart
        parents_inside_lead_up_to_the_top
        strange_handles_inside_name_nothing_else
    }
}

/// Conformance tests of paths that the model does not know.
macro_rules! tests_of_paths_inside {
    ($($test:ident)*) => {
        mod of_user { with_user! { false None, false, false; $($test)* } }
        mod of_user_on_an_old_host { with_user! { false None, true, true; $($test)* } }
        mod in_jail { with_user! { false Some("/"), false, false; $($test)* } }
        mod in_jail_on_an_old_host { with_user! { false Some("/"), true, true; $($test)* } }
        mod in_jail_shown_elsewhere { with_user! { false Some("/some/where"), false, false; $($test)* } }
    };
}

mod inside_by_path {
    tests_of_paths_inside! {
        paths_lead_through_images
        what_is_inside_is_opened_to_be_read
        true_paths_lead_back_inside
    }
}

fn walk(vfs: &mut Tree, path: &str) -> FsResult<Node> {
    let root = vfs.root(0)?;
    path.split('/')
        .filter(|name| !name.is_empty())
        .try_fold(root, |dir, name| {
            vfs.lookup(dir, Name::new(name.as_bytes())?)
        })
}

/// Opens as a client does: it comes again while it is told to. For a handle whose inode number just then becomes that of
/// a new object, Linux says that there is no memory.
fn open(vfs: &mut Tree, handle: &[u8]) -> FsResult<Node> {
    (0..1000)
        .map(|_| vfs.open(handle, &Caller::default()))
        .find(|opened| *opened != Err(FsError::TryLater))
        .unwrap_or(Err(FsError::TryLater))
}

/// The tree, which clients may change from now on.
fn writable(world: &mut dyn World) -> &mut Tree {
    world.make_writable();
    world.vfs()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

/// The directory of a path, and the name in it.
fn split<'a>(vfs: &mut Tree, path: &'a str) -> (Node, Name<'a>) {
    let (dir, last) = path.rsplit_once('/').unwrap_or(("", path));
    (walk(vfs, dir).unwrap(), name(last))
}

/// Makes an object with a mode that suits it.
fn make(vfs: &mut Tree, path: &str, make: CreateWhat<'_>) -> FsResult<Node> {
    let mode = if make == CreateWhat::Directory {
        0o755
    } else {
        0o644
    };
    let (dir, name) = split(vfs, path);
    let change = SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    };
    vfs.create(dir, name, make, &change)
}

/// Makes a file of these bytes.
fn put(vfs: &mut Tree, path: &str, bytes: &[u8]) {
    let node = make(vfs, path, CreateWhat::File).unwrap();
    write(vfs, node, 0, bytes).unwrap();
}

fn read(vfs: &mut Tree, node: Node, offset: u64, out: &mut [u8]) -> FsResult<u32> {
    let pin = vfs.pin(node, Some(Access::Read))?;
    let got = vfs.read(&pin, offset, out);
    vfs.unpin(pin);
    got
}

fn write(vfs: &mut Tree, node: Node, offset: u64, bytes: &[u8]) -> FsResult<()> {
    let pin = vfs.pin(node, Some(Access::Write))?;
    let written = vfs.write(&pin, offset, bytes);
    let synced = vfs.sync(&pin);
    vfs.unpin(pin);
    written.and(synced)
}

/// Makes everything durable.
fn sync_all(vfs: &mut Tree) -> FsResult<()> {
    loop {
        match vfs.submit(Job::Sync(Scope::All)) {
            Submitted::Done(synced) => return synced,
            Submitted::Pending(_) => {
                vfs.wait_for_jobs();
                vfs.reap(&mut |_| {});
            }
        }
    }
}

/// A time that can be compared.
const fn instant(time: FileTime) -> (i64, u32) {
    (time.secs, time.nanos)
}

/// All that a small file has in it.
fn content(vfs: &mut Tree, node: Node) -> Vec<u8> {
    let mut out = vec![0; 1 << 16];
    let len = read(vfs, node, 0, &mut out).unwrap();
    out.truncate(len as usize);
    out
}

fn list(vfs: &mut Tree, dir: Node, from: u64, page: usize) -> (Vec<(Vec<u8>, u64)>, bool) {
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
