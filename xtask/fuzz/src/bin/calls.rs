//! Calls that are well formed, one after the other, on one tree.

#![no_main]

libfuzzer_sys::fuzz_target!(|script: fuzz::Script| {
    fuzz::play(&script);
});
