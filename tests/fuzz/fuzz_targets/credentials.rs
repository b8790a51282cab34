//! Any bytes as a `Proxy-Authorization` value, also behind each of the schemes that are read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    for scheme in [&b""[..], b"Basic ", b"Digest "] {
        tidegate::fuzzing::credentials(&[scheme, value].concat());
    }
});
