//! Any bytes as the header of the PROXY protocol: the judgement is the same at whichever byte it can first be given, and what follows the
//! header has no part in it.

#![no_main]

use fanfare_wire::proxy::{HEADER_BYTES_MAX, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    // Nothing at all is the beginning of a header.
    let first = (1..=data.len())
        .map(|cut| parse(&data[..cut]))
        .find(|result| *result != Ok(None));
    assert_eq!(first.unwrap_or(Ok(None)), whole);
    if let Ok(Some((source, header_bytes))) = whole {
        assert!(header_bytes <= HEADER_BYTES_MAX && header_bytes <= data.len());
        assert_eq!(parse(&data[..header_bytes]), Ok(Some((source, header_bytes))));
    }
    if whole == Ok(None) {
        assert!(data.len() < HEADER_BYTES_MAX);
    }
});
