//! Fuzz target: a valid UDF image with some bytes changed.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::inside_udf(input);
});
