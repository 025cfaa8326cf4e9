//! Fuzz target: any bytes as HTTP requests on a connection.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::http::write_seeds() }, |input: &[u8]| {
    fuzz::http::send(input);
});
