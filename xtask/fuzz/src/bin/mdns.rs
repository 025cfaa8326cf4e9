//! Datagrams of a link, whatever they are, to a responder and a browser.

#![no_main]

libfuzzer_sys::fuzz_target!(init: { fuzz::mdns::write_seeds() }, |input: &[u8]| {
    fuzz::mdns::hear(input);
});
