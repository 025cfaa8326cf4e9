//! Fuzz target: any bytes to the RPC server, as a stream of records and as a datagram.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::write_seeds() }, |input: &[u8]| {
    fuzz::records(input);
});
