//! Fuzz target: sequences of well-formed RPC calls on one tree.

#![no_main]

libfuzzer_sys::fuzz_target!(|script: fuzz::Script| {
    fuzz::play(&script);
});
