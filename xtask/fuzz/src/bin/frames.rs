//! Frames of an Ethernet, whatever they are, to the network stack.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::frames::write_seeds() }, |input: &[u8]| {
    fuzz::frames::receive(input);
});
