//! `chaos_tests::fuzz::store` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chaos_tests::fuzz::store(data));
