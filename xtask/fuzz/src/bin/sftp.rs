//! Fuzz target: any bytes, or a sequence of well-formed requests, to the SFTP server.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::sftp::write_seeds() }, |input: &[u8]| {
    fuzz::sftp::play(input);
});
