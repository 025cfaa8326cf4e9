//! Descriptions of what mdns announces: any bytes, to everything that reads them.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::announced::write_seeds() }, |input: &[u8]| {
    fuzz::announced::read(input);
});
