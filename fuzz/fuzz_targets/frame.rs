//! `chaos_tests::fuzz::frame` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chaos_tests::fuzz::frame(data));
