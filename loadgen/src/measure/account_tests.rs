//! Books of two connections on three topics, two each: 0 has topics 0 and 1, 1 has 2 and 0.

use super::super::tests::plan;
use super::*;

const ARGUMENTS: &str = "--connections 2 --topics 3 --subscriptions 2 --in-flight 9";

fn account(updates: u64) -> Account {
    let mut account = Account::new(&plan(ARGUMENTS).unwrap());
    (0..updates).for_each(|number| {
        account.publish(number);
    });
    account
}

fn deliver(account: &mut Account, deliveries: &[(u32, u64)]) {
    let mut message = Vec::new();
    for (slot, number) in deliveries {
        payload::write_numbered(&mut message, 0, *number, 100, &payload::Filling::Letter);
        account.on_delivery(*slot, &message, 10);
    }
}

/// Delivered, lost, behind, strays.
fn sums(account: &Account) -> [u64; 4] {
    let Sums {
        delivered,
        lost,
        behind,
        strays,
        ..
    } = account.sums;
    [delivered, lost, behind, strays]
}

#[test]
fn updates_are_under_way_until_their_last_subscriber_has_them() {
    let mut account = account(3);
    assert_eq!((account.under_way(), account.missing()), (3, 4));
    // Topic 0 is everybody's.
    deliver(&mut account, &[(0, 0), (0, 1)]);
    assert_eq!((account.under_way(), account.missing()), (3, 2));
    deliver(&mut account, &[(1, 0)]);
    assert_eq!((account.under_way(), account.missing()), (1, 1));
    deliver(&mut account, &[(1, 2)]);
    assert_eq!((account.under_way(), account.missing()), (0, 0));
    assert_eq!(sums(&account), [4, 0, 0, 0]);
    assert_eq!(account.time_to_last.quantiles().count, 3);
}

#[test]
fn holes_repeats_and_strays_are_told() {
    for (deliveries, expected) in [
        (&[(0, 0), (0, 3)][..], [2, 0, 0, 0]),
        (&[(0, 0), (0, 6)], [2, 1, 0, 0]),
        (&[(0, 3)], [1, 1, 0, 0]),
        (&[(0, 0), (0, 0)], [1, 0, 1, 0]),
        (&[(0, 3), (0, 0)], [1, 1, 1, 0]),
        (&[(0, 2)], [0, 0, 0, 1]),
        (&[(1, 1)], [0, 0, 0, 1]),
    ] {
        let mut account = account(9);
        deliver(&mut account, deliveries);
        assert_eq!(sums(&account), expected, "{deliveries:?}");
        let faults: u64 = expected[1..].iter().sum();
        assert_eq!(account.examples.iter().count() as u64, faults);
    }
}

#[test]
fn what_is_none_of_ours_is_told() {
    let mut account = account(1);
    account.on_delivery(0, b"hello", 5);
    assert_eq!(account.sums.not_ours, 1);
}

#[test]
fn without_acks_a_subscription_begins_with_what_comes_first() {
    let raw =
        "--protocol raw-json --subscribe-template {topics} --publish-template {topic}{payload}";
    let mut account = Account::new(&plan(&format!("{ARGUMENTS} {raw}")).unwrap());
    (0..6).for_each(|number| {
        account.publish(number);
    });
    deliver(&mut account, &[(0, 3), (0, 1), (1, 2)]);
    assert!(!account.has_begun());
    deliver(&mut account, &[(1, 0)]);
    assert!(account.has_begun());
    account.forgive();
    assert_eq!((account.under_way(), account.missing()), (0, 0));
    // From here on everything counts.
    deliver(&mut account, &[(1, 3), (0, 7)]);
    assert_eq!(sums(&account), [6, 1, 0, 0]);
}

#[test]
fn what_a_poll_passes_over_is_settled_as_skipped() {
    let arguments = "--protocol fanfare-poll --connections 2 --topics 2 --in-flight 9";
    let mut account = Account::new(&plan(arguments).unwrap());
    for number in 0..8 {
        account.publish(number);
    }
    // Connection 1 has topic 1: updates 1, 3, 5 and 7.
    deliver(&mut account, &[(1, 1)]);
    assert!(account.on_skipped(1, 2, 20));
    deliver(&mut account, &[(1, 7)]);
    assert_eq!(sums(&account), [2, 0, 0, 0]);
    assert_eq!((account.sums.skipped, account.missing()), (2, 4));
    // Nobody can have passed over what was not published, or make up for what came anyway.
    assert!(!account.on_skipped(1, 1, 20));
    assert!(!account.on_skipped(0, 5, 20));
    assert!(account.on_skipped(0, 1, 20));
    deliver(&mut account, &[(0, 0), (0, 4)]);
    assert_eq!(sums(&account), [3, 1, 1, 0]);
}
