//! Fuzz target: any datagrams to an mDNS responder and browser.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::mdns::write_seeds() }, |input: &[u8]| {
    fuzz::mdns::receive(input);
});
