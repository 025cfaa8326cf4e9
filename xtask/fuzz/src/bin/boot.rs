//! Fuzz target: datagrams to the boot server.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::boot::write_seeds() }, |input: &[u8]| {
    fuzz::boot::play(input);
});
