//! permessage-deflate: what is offered, what is answered, and what is refused (RFC 7692, section 7.1).

use fanfare_wire::deflate::{Agreement, ClientWindow, Offer, Terms};
use fanfare_wire::handshake::{
    HeadLimits, ResponseError, UpgradeError, parse_request, parse_response, put_switching,
    put_upgrade_request,
};
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 8192,
    line_bytes_max: 4096,
};
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// No context of clients is kept.
const PLAIN: Terms = Terms {
    client_context: false,
    client_window_bits: 15,
};

/// Contexts of clients are kept, with windows of 4 KiB.
const KEEPING: Terms = Terms {
    client_context: true,
    client_window_bits: 12,
};

/// What a server with these terms answers to a request with this header.
fn answer_to(offered: &str, terms: &Terms) -> Result<Option<Agreement>, UpgradeError> {
    let mut head = Vec::new();
    let extra = [("Sec-WebSocket-Extensions", offered)];
    put_upgrade_request(&mut head, "h", "/", KEY, &[], &extra);
    let (request, _) = parse_request(&head, &LIMITS)
        .expect("a sound head")
        .expect("a whole head");
    let upgrade = request.upgrade()?;
    Ok(terms.choose(&upgrade.extensions))
}

/// The same as the text that stands in the answer; `-` for an answer without compression.
fn text_answer(offered: &str, terms: &Terms) -> String {
    match answer_to(offered, terms).expect("a sound header") {
        Some(agreement) => agreement
            .to_string()
            .replace("permessage-deflate", "")
            .trim_start_matches("; ")
            .to_owned(),
        None => "-".to_owned(),
    }
}

#[test]
fn what_is_well_formed_is_accepted_without_contexts() {
    let (server, both) = (
        "server_no_context_takeover",
        "server_no_context_takeover; client_no_context_takeover",
    );
    let with_window = |bits: u8| format!("{both}; server_max_window_bits={bits}");
    for (offered, answer) in [
        ("permessage-deflate", both),
        ("permessage-deflate; client_max_window_bits", both),
        ("permessage-deflate; client_max_window_bits=10", both),
        ("permessage-deflate; client_max_window_bits=\"10\"", both),
        ("permessage-deflate; server_no_context_takeover", both),
        ("permessage-deflate; client_no_context_takeover", both),
        (
            "permessage-deflate; server_max_window_bits=15",
            &with_window(15),
        ),
        (
            "permessage-deflate; server_max_window_bits=8",
            &with_window(8),
        ),
        (
            "permessage-deflate; client_no_context_takeover; server_max_window_bits=\"9\"; \
             server_no_context_takeover; client_max_window_bits",
            &with_window(9),
        ),
        ("x-webkit-deflate-frame, permessage-deflate", both),
        (
            "permessage-deflate, permessage-deflate; server_max_window_bits=9",
            both,
        ),
        (
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            &with_window(9),
        ),
    ] {
        assert_eq!(text_answer(offered, &PLAIN), answer, "{offered}");
    }
    for (offered, answer) in [
        ("permessage-deflate", server),
        ("permessage-deflate; client_no_context_takeover", both),
        (
            "permessage-deflate; client_max_window_bits",
            "server_no_context_takeover; client_max_window_bits=12",
        ),
        (
            "permessage-deflate; client_max_window_bits=15",
            "server_no_context_takeover; client_max_window_bits=12",
        ),
        ("permessage-deflate; client_max_window_bits=9", server),
    ] {
        assert_eq!(text_answer(offered, &KEEPING), answer, "{offered}");
    }
}

#[test]
fn an_offer_with_a_fault_is_passed_over_for_the_next() {
    let good = "permessage-deflate; server_max_window_bits=11";
    for params in [
        "unknown",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=09",
        "server_max_window_bits=010",
        "server_max_window_bits=+10",
        "server_max_window_bits=-10",
        "server_max_window_bits=10.0",
        "server_max_window_bits=1000000000000000000000",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=x",
        "Server_No_Context_Takeover",
    ] {
        let bad = format!("permessage-deflate; {params}");
        assert_eq!(answer_to(&bad, &PLAIN), Ok(None), "{bad}");
        let both = format!("{bad}, {good}");
        let agreement = answer_to(&both, &PLAIN).unwrap().expect("the second one");
        assert_eq!(agreement.server_window_bits, Some(11), "{both}");
    }
    for other in [
        "",
        "permessage-bzip2",
        "Permessage-Deflate",
        "deflate-frame",
    ] {
        assert_eq!(answer_to(other, &PLAIN), Ok(None), "{other}");
    }
}

#[test]
fn a_header_that_is_no_list_of_extensions_fails_the_handshake() {
    for header in [
        "permessage-deflate;",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=\"10",
        "permessage-deflate; client_max_window_bits=\"\"",
        "permessage-deflate client_max_window_bits",
        "permessage-deflate, ;",
    ] {
        let refusal = answer_to(header, &PLAIN).expect_err(header);
        assert_eq!(refusal, UpgradeError::Extensions);
        assert_eq!(refusal.status(), 400);
    }
}

/// What a client that offered this makes of an answer with that header.
fn judge(offer: &Offer, header: &str) -> Result<Option<Agreement>, ResponseError> {
    let mut head = Vec::new();
    put_switching(&mut head, KEY, None, None);
    head.truncate(head.len() - 2);
    head.extend_from_slice(format!("Sec-WebSocket-Extensions: {header}\r\n\r\n").as_bytes());
    let accepted = parse_response(&head, KEY, &LIMITS, Some(offer))?;
    Ok(accepted.expect("a whole head").deflate)
}

#[test]
fn an_answer_that_keeps_to_the_offer_is_taken() {
    let everything = Offer {
        server_no_context: true,
        client_no_context: true,
        server_window_bits: Some(11),
        client_window: ClientWindow::Any,
    };
    let nothing = Offer::default();
    for (offer, header) in [
        (nothing, "permessage-deflate"),
        (nothing, "permessage-deflate; server_no_context_takeover"),
        (nothing, "permessage-deflate; client_no_context_takeover"),
        (nothing, "permessage-deflate; server_max_window_bits=9"),
        (
            everything,
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=11",
        ),
        (
            everything,
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=8; client_max_window_bits=\"8\"",
        ),
    ] {
        let agreement = judge(&offer, header).unwrap().expect(header);
        assert_eq!(agreement.to_string(), header.replace('"', ""));
    }
    assert_eq!(judge(&nothing, ""), Ok(None));
}

#[test]
fn an_answer_with_a_fault_or_beyond_the_offer_fails_the_connection() {
    use ResponseError::{Extensions, NotOffered};
    let nothing = Offer::default();
    let strict = Offer {
        server_no_context: true,
        server_window_bits: Some(10),
        ..nothing
    };
    for (offer, header, fault) in [
        (nothing, "permessage-deflate; unknown", Extensions),
        (
            nothing,
            "permessage-deflate; server_max_window_bits",
            Extensions,
        ),
        (
            nothing,
            "permessage-deflate; server_max_window_bits=16",
            Extensions,
        ),
        (
            nothing,
            "permessage-deflate; client_max_window_bits=10",
            Extensions,
        ),
        (
            nothing,
            "permessage-deflate; server_no_context_takeover=1",
            Extensions,
        ),
        (
            nothing,
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            Extensions,
        ),
        (nothing, "permessage-deflate;", Extensions),
        (
            nothing,
            "permessage-deflate, permessage-deflate",
            NotOffered,
        ),
        (nothing, "permessage-bzip2", NotOffered),
        (strict, "permessage-deflate", Extensions),
        (
            strict,
            "permessage-deflate; server_no_context_takeover",
            Extensions,
        ),
        (
            strict,
            "permessage-deflate; server_max_window_bits=10",
            Extensions,
        ),
        (
            strict,
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=11",
            Extensions,
        ),
        (
            Offer {
                client_window: ClientWindow::Any,
                ..nothing
            },
            "permessage-deflate; client_max_window_bits",
            Extensions,
        ),
    ] {
        assert_eq!(judge(&offer, header), Err(fault), "{header}");
    }
}

#[test]
fn nothing_may_be_chosen_where_nothing_was_offered() {
    let mut head = Vec::new();
    put_switching(&mut head, KEY, None, Some(&Agreement::default()));
    let refusal = parse_response(&head, KEY, &LIMITS, None);
    assert_eq!(refusal, Err(ResponseError::NotOffered));
}

#[test]
fn a_smaller_window_bounds_what_may_be_compressed_with_the_largest() {
    let bounded = |bits| Agreement {
        server_window_bits: bits,
        ..Agreement::default()
    };
    for (bits, bytes) in [
        (None, usize::MAX),
        (Some(15), usize::MAX),
        (Some(14), 16_384),
        (Some(8), 256),
    ] {
        assert_eq!(bounded(bits).server_message_bytes_max(), bytes);
    }
}

fn offers() -> impl Strategy<Value = Offer> {
    let bits = 8..=15u8;
    let client_window = prop_oneof![
        Just(ClientWindow::Fixed),
        Just(ClientWindow::Any),
        bits.clone().prop_map(ClientWindow::AtMost),
    ];
    let server_window = prop::option::of(bits);
    (any::<bool>(), any::<bool>(), server_window, client_window).prop_map(
        |(server_no_context, client_no_context, server_window_bits, client_window)| Offer {
            server_no_context,
            client_no_context,
            server_window_bits,
            client_window,
        },
    )
}

proptest! {
    #[test]
    fn what_one_side_offers_and_the_other_answers_both_understand(
        offer in offers(),
        client_context in any::<bool>(),
        client_window_bits in 8..=15u8,
    ) {
        let terms = Terms { client_context, client_window_bits };
        let agreed = answer_to(&offer.to_string(), &terms).unwrap().expect("a sound offer");
        let mut head = Vec::new();
        put_switching(&mut head, KEY, None, Some(&agreed));
        let accepted = parse_response(&head, KEY, &LIMITS, Some(&offer)).unwrap().unwrap();
        prop_assert_eq!(accepted.deflate, Some(agreed));
        prop_assert!(agreed.server_no_context);
        prop_assert!(agreed.client_no_context || (client_context && !offer.client_no_context));
    }

    #[test]
    fn any_header_is_answered_or_refused(header in "[ -~]{0,60}|(permessage-deflate|[;,= \"]|[a-z_]{1,26}|[0-9]{1,2}){0,9}") {
        if let Ok(Some(agreed)) = answer_to(&header, &KEEPING) {
            prop_assert!(header.contains("permessage-deflate"));
            prop_assert!(agreed.server_no_context);
        }
    }
}
