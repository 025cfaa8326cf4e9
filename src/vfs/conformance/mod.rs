//! Conformance tests: one function each, run for every backend.

use super::Form;
use super::{
    Access, Caller, CreateWhat, Detail, Ended, FileTime, FsError, FsResult, Job, Name, Node,
    Patience, Scope, SetAttr, Submitted, Tree,
};
use benches::{Bench, OfUser, OnHost, OnRam, Surroundings};
use content::*;
use core::ops::ControlFlow;
use images::*;
use making::*;
use names::*;
use paths::*;
use reading::*;
use storing::*;

mod benches;
mod content;
mod exported_images;
mod images;
mod making;
mod names;
mod nested;
mod paths;
mod reading;
mod storing;

macro_rules! with_ram {
    ($($test:ident)*) => {
        $(#[test] fn $test() {
            let mut bench = super::super::OnRam::new();
            super::super::$test(&mut bench);
            bench.check();
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

/// Tests of the contents of images, by handle. The model backend has no images.
macro_rules! tests_of_images {
    ($($test:ident)*) => {
        mod on_host_with_path_handles {
            $(#[test] fn $test() {
                super::super::$test(&mut super::super::OnHost::new(stringify!($test), super::super::Form::Path).unwrap());
            })*
        }
        mod on_host_with_kernel_handles {
            $(#[test] fn $test() {
                if let Some(mut bench) = super::super::OnHost::new(stringify!($test), super::super::Form::Kernel) {
                    super::super::$test(&mut bench);
                }
            })*
        }
    };
}

/// Tests of objects that are named by handles.
macro_rules! tests_of_handles {
    ($($test:ident)*) => {
        mod on_ram { with_ram! { $($test)* } }
        tests_of_images! { $($test)* }
    };
}

/// Tests of objects, whether named by handles or by paths.
macro_rules! tests_of_objects {
    ($($test:ident)*) => {
        tests_of_handles! { $($test)* }
        mod of_user { with_user! { true None, false, false; $($test)* } }
        mod of_user_on_an_old_kernel { with_user! { true None, true, false; $($test)* } }
        mod in_jail { with_user! { true Some("/"), false, false; $($test)* } }
    };
}

/// Tests of paths.
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
        listed_handles_match_lookup
        handles_survive_a_restart
        handle_of_removed_object_is_stale
        altered_handles_are_refused
        access_follows_the_servers_rights
        external_change_is_visible_to_next_request

        read_only_export_refuses_every_change

        set_id_bits_of_the_same_change_survive

        created_object_belongs_to_the_caller
        created_object_is_listed_with_its_handle

        unlinked_object_is_stale
        moved_directory_has_its_new_parent
        parent_chain_reaches_the_root
        handles_survive_rename_within_directory
    }
}

mod objects {
    tests_of_objects! {
        attributes_match_the_object
        lookup_finds_names_one_by_one
        lookup_in_other_objects_fails
        reads_stop_at_end_of_file
        reads_work_beyond_4_gib
        only_regular_files_are_read
        symbolic_links_are_read_and_not_followed
        listing_continues_after_any_cookie
        listed_attributes_match_lookup
        pin_survives_release_idle

        written_bytes_are_read_back_at_any_offset
        empty_write_changes_nothing
        write_beyond_largest_size_fails
        new_size_truncates_or_appends_zeros
        each_attribute_changes_alone
        refused_mode_of_a_link_changes_nothing
        times_are_set_exactly_or_to_now
        size_is_set_on_files_only
        pinned_file_is_writable_after_removal
        hard_links_share_their_contents

        created_object_has_its_attributes
        create_applies_initial_attributes
        set_gid_directory_passes_its_group_on
        mknod_of_devices_needs_privilege
        symlink_target_is_kept_exactly
        create_refuses_existing_names
        name_changes_need_a_directory

        remove_checks_the_object_type
        sync_ignores_objects_removed_before_it
        removing_listed_names_skips_no_entry
        rename_follows_the_table
        rename_without_replace_keeps_the_target
        link_count_follows_names
        name_changes_update_times
        names_may_have_255_bytes
    }
}

mod by_path {
    tests_of_paths! {
        paths_resolve_through_directories_and_dots
        unresolvable_paths_have_their_errors
        symbolic_links_resolve_to_their_targets
        forty_links_are_followed
        paths_stay_below_the_root
        realpath_has_no_links_or_dots
        open_at_follows_its_flags
        file_created_by_path_exists
        exclusive_open_refuses_existing_names
        only_files_and_directories_are_opened
        append_ignores_the_offset
        attributes_are_set_by_path
    }
}

/// Tests of the contents of images, by handle or by path.
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
        image_is_a_file_unless_entered
        symbolic_link_to_image_is_not_entered
        image_contents_match_the_image
        image_listing_continues_after_any_entry
        image_contents_cannot_be_changed
        changed_image_is_stale
        pin_inside_image_survives_release_idle
        images_beyond_open_limit_take_turns
        invalid_images_have_their_errors
        udf_is_used_unless_rock_ridge_has_its_files
        directory_named_like_image_is_not_entered
        file_beyond_end_of_image_is_not_pinned
        missing_part_of_image_is_cut
    }
}

/// Tests of descriptors and worker threads, which the model backend does not have.
mod open_objects {
    tests_of_images! {
        release_idle_reports_remaining_objects
        file_replaced_by_other_program_stays_usable
        file_is_stale_after_many_removals
        released_node_is_stale_for_changes
        object_moved_out_has_no_parent

        bytes_stored_by_worker_are_read_back
        state_is_saved_by_worker
        writes_beyond_worker_limit_are_stored_in_place
        invalid_worker_writes_fail
    }

    #[test]
    fn search_continues_for_its_own_handle() {
        let test = "search_continues_for_its_own_handle";
        let mut bench = super::OnHost::new(test, super::Form::Path).unwrap();
        super::search_continues_for_its_own_handle(&mut bench);
    }
}

mod inside_by_handle {
    tests_of_images! {
        file_without_rights_is_not_a_directory
        handles_inside_image_survive_a_restart
        parent_chain_inside_image_reaches_its_root
        altered_handles_inside_image_stay_inside
    }
}

/// Tests of the contents of images, by path. The model backend has no images.
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
        paths_resolve_through_images
        files_inside_image_open_for_reading
        realpath_inside_image_resolves_again
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

/// Opens a handle, and like a client retries on TryLater, and like the driver after a stop: Linux returns ENOMEM for a handle whose inode number is just being reused
/// for a new object.
fn open(vfs: &mut Tree, handle: &[u8]) -> FsResult<Node> {
    (0..1000)
        .map(|_| vfs.open_as(handle, &Caller::default()))
        .find(
            |opened| !matches!(opened, Err(error) if error.stops() || *error == FsError::TryLater),
        )
        .unwrap_or(Err(FsError::TryLater))
}

/// Makes the export writable and returns the tree.
fn writable(bench: &mut dyn Bench) -> &mut Tree {
    bench.make_writable();
    bench.vfs()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

/// The parent directory of a path, and the last name.
fn split<'a>(vfs: &mut Tree, path: &'a str) -> (Node, Name<'a>) {
    let (dir, last) = path.rsplit_once('/').unwrap_or(("", path));
    (walk(vfs, dir).unwrap(), name(last))
}

/// Creates an object with mode 0755 (directories) or 0644.
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

/// Creates a file with these contents.
fn write_file(vfs: &mut Tree, path: &str, bytes: &[u8]) {
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
                take_ended(vfs);
            }
        }
    }
}

/// Waits until a job ends, and returns all that have ended.
fn take_ended(vfs: &mut Tree) -> Vec<Ended> {
    let known_count = vfs.ended_count();
    assert!(vfs.reap(Patience::Forever));
    let count = vfs.ended_count();
    vfs.forget_ended(count);
    (known_count..count)
        .filter_map(|at| vfs.ended_after(at))
        .collect()
}

/// A time as a value that can be compared.
const fn instant(time: FileTime) -> (i64, u32) {
    (time.secs, time.nanos)
}

/// The whole contents of a small file.
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
