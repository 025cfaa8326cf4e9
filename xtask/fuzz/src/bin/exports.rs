//! Fuzz target: any bytes as a file of exports.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::exports::write_seeds() }, |input: &[u8]| {
    fuzz::exports::read(input);
});
