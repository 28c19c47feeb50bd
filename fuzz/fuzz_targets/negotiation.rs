//! Any `Sec-WebSocket-Extensions` is answered or refused; what is answered keeps to what was offered, and is understood by
//! the other side.

#![no_main]

use fanfare_wire::deflate::{Agreement, Offer, Terms};
use fanfare_wire::handshake::{
    HeadLimits, new_key, parse_request, parse_response, put_switching, put_upgrade_request,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16_384,
    line_bytes_max: 8_192,
};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, header)) = data.split_first() else {
        return;
    };
    let Ok(header) = std::str::from_utf8(header) else {
        return;
    };
    let terms = Terms {
        client_context: choice & 1 == 1,
        client_window_bits: 8 + (choice >> 1) % 8,
    };
    let key = new_key([choice; 16]);
    let extra = [("Sec-WebSocket-Extensions", header)];
    let mut head = Vec::new();
    put_upgrade_request(&mut head, "h", "/", &key, &[], &extra);
    let Ok(Some((request, _))) = parse_request(&head, &LIMITS) else {
        return;
    };
    let Ok(upgrade) = request.upgrade() else {
        return;
    };
    let agreed = terms.choose(&upgrade.extensions);
    let offers = || (upgrade.extensions.iter()).filter_map(|one| Offer::read(one).ok());
    assert_eq!(agreed.is_some(), offers().next().is_some());
    let Some((agreed, offer)) = agreed.zip(offers().next()) else {
        return;
    };
    assert!(agreed.server_no_context);
    assert!(agreed.client_no_context || terms.client_context);
    // What a client made of the header as an answer would be judged without a panic, too.
    for one in &upgrade.extensions {
        let _ = Agreement::read(one, &offer);
    }
    let mut answer = Vec::new();
    put_switching(&mut answer, &key, None, Some(&agreed));
    let accepted = parse_response(&answer, &key, &LIMITS, Some(&offer));
    let accepted = accepted.expect("our own answer").expect("all of it");
    assert_eq!(accepted.deflate, Some(agreed));
});
