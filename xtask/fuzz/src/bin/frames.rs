//! Fuzz target: any Ethernet frames to the network stack.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::frames::write_seeds() }, |input: &[u8]| {
    fuzz::frames::receive(input);
});
