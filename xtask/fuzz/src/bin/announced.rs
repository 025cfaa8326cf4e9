//! Fuzz target: any bytes to the parsers of service descriptions and of other texts that the mdns role reads.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::announced::write_seeds() }, |input: &[u8]| {
    fuzz::announced::read(input);
});
