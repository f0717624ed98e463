#![no_main]

#[path = "../targets/ledger_recovery.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
