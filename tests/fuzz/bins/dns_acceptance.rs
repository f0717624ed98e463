#![no_main]

#[path = "../targets/dns_acceptance.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
