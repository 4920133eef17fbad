#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kneard_fuzz::config::run(data));
