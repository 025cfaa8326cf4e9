//! Fuzz target: COMPOUNDs of NFS 4.1.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::nfs4::write_seeds() }, |input: &[u8]| {
    fuzz::nfs4::play(input);
});
