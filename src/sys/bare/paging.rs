//! Access rights of memory pages, and pages for device registers above 4 GiB. The entry (`arch/pvh.rs`) has mapped the first 4 GiB.

use super::memory::{EXCEPTION_GUARD, GUARD, LARGE, PAGE, PAGE_DIRECTORIES, PAGE_TABLE, free};
use alloc::alloc::alloc_zeroed;
use core::alloc::Layout;
use core::ops::Range;

/// Bits of a page table entry.
const PRESENT: u64 = 1;
pub(super) const WRITABLE: u64 = 2;
const IS_LARGE: u64 = 1 << 7;
pub(super) const NO_EXECUTE: u64 = 1 << 63;
/// Entries of a page table, and page directories of the entry's tables.
const ENTRY_COUNT: usize = 512;
const DIRECTORY_COUNT: usize = 4;

/// Memory for a page table.
#[repr(C, align(4096))]
struct PageTable([u64; ENTRY_COUNT]);

/// Sets page rights so that no page is both writable and executable: each segment of the image has its own rights, all else is
/// writable and not executable. The first 2 MiB (null pointers) and the stack guards are unmapped. `base` is the end of the image;
/// `store` writes an entry at an address. The tables are in use meanwhile, so each entry is valid by itself: the page that contains
/// the running code stays executable, even for a processor that caches no entry.
pub(super) fn protect(
    base: usize,
    segments: &mut dyn Iterator<Item = (Range<usize>, u64)>,
    store: &mut dyn FnMut(usize, u64),
) {
    const SIZE: usize = size_of::<u64>();
    let first = base & !(LARGE - 1);
    let (table, directories) = (base + PAGE_TABLE, base + PAGE_DIRECTORIES);
    // The table of the image's 2 MiB is complete before its directory refers to it.
    for page in 0..ENTRY_COUNT {
        let address = first + page * PAGE;
        if address != base + GUARD && address != base + EXCEPTION_GUARD {
            store(
                table + page * SIZE,
                address as u64 | PRESENT | WRITABLE | NO_EXECUTE,
            );
        }
    }
    for (range, rights) in segments {
        for page in range.start / PAGE..range.end.div_ceil(PAGE) {
            let entry = table + page % ENTRY_COUNT * SIZE;
            store(entry, (page * PAGE) as u64 | PRESENT | rights);
        }
    }
    store(
        directories + first / LARGE * SIZE,
        table as u64 | PRESENT | WRITABLE,
    );
    for number in 1..DIRECTORY_COUNT * ENTRY_COUNT {
        if number != first / LARGE {
            let address = (number * LARGE) as u64;
            let rights = PRESENT | WRITABLE | IS_LARGE | NO_EXECUTE;
            store(directories + number * SIZE, address | rights);
        }
    }
    store(directories, 0);
}

/// Maps the 2 MiB that contain the device registers at `address`, if they are above 4 GiB. Returns false if memory is exhausted.
pub(super) fn map(address: usize) -> bool {
    if address >> 32 == 0 {
        return true;
    }
    let mut table = free();
    for shift in [39, 30] {
        let entry = entry(table, address >> shift);
        // SAFETY: the entry is within a table that the processor and this function use.
        unsafe {
            if *entry & PRESENT == 0 {
                let page = alloc_zeroed(Layout::new::<PageTable>());
                if page.is_null() {
                    return false;
                }
                *entry = page.addr() as u64 | PRESENT | WRITABLE;
            }
            table = *entry as usize & !(PAGE - 1);
        }
    }
    let rights = PRESENT | WRITABLE | IS_LARGE | NO_EXECUTE;
    // SAFETY: as above; no memory of the program is at these addresses.
    unsafe { *entry(table, address >> 21) = (address & !(LARGE - 1)) as u64 | rights };
    true
}

/// The entry of a table for the upper bits of an address.
fn entry(table: usize, upper: usize) -> *mut u64 {
    (table as *mut u64).wrapping_add(upper % ENTRY_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::bare::memory::{EXCEPTION_STACK_END, STACK_END};
    use std::collections::HashMap;

    const IMAGE: usize = 2 << 20;
    const BASE: usize = IMAGE + 100 * PAGE;

    /// Walks the tables from the page directories on, as a processor without a TLB does. Returns the address and the rights.
    fn walk(memory: &HashMap<usize, u64>, address: usize) -> Option<(usize, u64)> {
        let directory = memory.get(&(BASE + PAGE_DIRECTORIES + address / LARGE * 8))?;
        if directory & PRESENT == 0 {
            return None;
        }
        if directory & IS_LARGE != 0 {
            let start = (*directory & !NO_EXECUTE) as usize & !(LARGE - 1);
            return Some((start + address % LARGE, *directory));
        }
        let table = *directory as usize & !(PAGE - 1);
        let entry = memory.get(&(table + address / PAGE % ENTRY_COUNT * 8))?;
        let start = (*entry & !NO_EXECUTE) as usize & !(PAGE - 1);
        (entry & PRESENT != 0).then_some((start + address % PAGE, *entry))
    }

    #[test]
    fn running_code_stays_executable_at_each_step() {
        // The entry's tables: all is writable and executable.
        let mut memory: HashMap<usize, u64> = (0..DIRECTORY_COUNT * ENTRY_COUNT)
            .map(|number| {
                let entry = (number * LARGE) as u64 | PRESENT | WRITABLE | IS_LARGE;
                (BASE + PAGE_DIRECTORIES + number * 8, entry)
            })
            .collect();
        let (constants, code) = (
            IMAGE..IMAGE + 10 * PAGE + 5,
            IMAGE + 11 * PAGE..IMAGE + 80 * PAGE + 1,
        );
        let data = IMAGE + 90 * PAGE + 7..BASE - 9;
        let mut segments = [
            (constants.clone(), NO_EXECUTE),
            (code.clone(), 0),
            (data.clone(), WRITABLE | NO_EXECUTE),
        ]
        .into_iter();
        let (stack, device) = (BASE + STACK_END - 8, 0xfeb0_0000);
        let mut steps = 0;
        protect(BASE, &mut segments, &mut |at, entry| {
            memory.insert(at, entry);
            steps += 1;
            for address in [code.start, code.end - 1] {
                let (to, rights) = walk(&memory, address).unwrap();
                assert_eq!((to, rights & NO_EXECUTE), (address, 0), "step {steps}");
            }
            for address in [
                stack,
                BASE + PAGE_TABLE,
                BASE + PAGE_DIRECTORIES,
                data.start,
                device,
            ] {
                let (to, rights) = walk(&memory, address).unwrap();
                assert_eq!((to, rights & WRITABLE), (address, WRITABLE), "step {steps}");
            }
            assert_eq!(walk(&memory, constants.start).unwrap().0, constants.start);
        });
        for address in [0, LARGE - 1, BASE + GUARD, BASE + EXCEPTION_GUARD + 4095] {
            assert_eq!(walk(&memory, address), None, "{address:x}");
        }
        for page in (LARGE..4 << 30).step_by(PAGE) {
            let Some((to, rights)) = walk(&memory, page) else {
                assert!([BASE + GUARD, BASE + EXCEPTION_GUARD].contains(&page));
                continue;
            };
            assert_eq!(to, page);
            let is_code = (code.start..code.end).contains(&page);
            assert_eq!(rights & NO_EXECUTE == 0, is_code, "{page:x}");
            assert!(rights & WRITABLE == 0 || !is_code);
            let is_constant = constants.contains(&page);
            assert_eq!(rights & WRITABLE == 0, is_code || is_constant, "{page:x}");
        }
        assert!(walk(&memory, BASE + EXCEPTION_STACK_END - 8).is_some());
    }
}
