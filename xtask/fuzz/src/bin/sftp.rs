//! SFTP: anything at all, and requests that are well formed, one after the other, on one tree.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::sftp::write_seeds() }, |input: &[u8]| {
    fuzz::sftp::play(input);
});
