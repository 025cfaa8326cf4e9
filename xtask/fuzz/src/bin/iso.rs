//! ISO images: a good one, with any of its bytes changed.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::inside(input);
});
