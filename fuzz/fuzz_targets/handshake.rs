//! Any bytes as the head of a request and of an answer: the judgement is the same at whichever byte
//! it can first be given, and an upgrade that is granted is one that a client accepts.

#![no_main]

use fanfare_wire::handshake::{
    HeadLimits, accept_value, parse_request, parse_response, put_response, put_switching,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 600,
    line_bytes_max: 200,
};
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fuzz_target!(|data: &[u8]| {
    request(data);
    answer(data);
});

fn request(data: &[u8]) {
    let judge =
        |bytes: &[u8]| parse_request(bytes, &LIMITS).map(|parsed| parsed.map(|(_, end)| end));
    check_cuts(data, judge);
    let Ok(Some((request, head_bytes))) = parse_request(data, &LIMITS) else {
        return;
    };
    assert!(head_bytes <= LIMITS.head_bytes_max);
    assert!(data[..head_bytes].ends_with(b"\r\n\r\n"));
    assert!(request.path.starts_with('/') || request.path == "*");
    let mut out = Vec::new();
    match request.upgrade() {
        Ok(upgrade) => {
            assert!(request.wants_upgrade());
            put_switching(&mut out, upgrade.key, upgrade.protocols().next(), None);
            let accepted = parse_response(&out, upgrade.key, &LIMITS, None);
            let accepted = accepted.expect("our own answer").expect("all of it");
            assert_eq!(accepted.head_bytes, out.len());
        }
        Err(refusal) => put_response(&mut out, refusal.status(), &[], "text/plain", b""),
    }
}

fn answer(data: &[u8]) {
    let judge = |bytes: &[u8]| {
        parse_response(bytes, KEY, &LIMITS, None)
            .map(|accepted| accepted.map(|accepted| accepted.head_bytes))
    };
    check_cuts(data, judge);
    if let Ok(Some(_)) = judge(data) {
        let proof = accept_value(KEY);
        assert!(data.windows(proof.len()).any(|window| window == proof));
    }
}

/// The first judgement that is given while bytes arrive is the one on all of them.
fn check_cuts<E: PartialEq + std::fmt::Debug>(
    data: &[u8],
    judge: impl Fn(&[u8]) -> Result<Option<usize>, E>,
) {
    let first = (0..=data.len())
        .map(|cut| judge(&data[..cut]))
        .find(|result| *result != Ok(None));
    assert_eq!(first.unwrap_or(Ok(None)), judge(data));
}
