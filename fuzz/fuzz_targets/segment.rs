//! `chaos_tests::fuzz::segment` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chaos_tests::fuzz::segment(data));
