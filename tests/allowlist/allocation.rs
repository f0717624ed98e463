//! Look-ups allocate nothing, whatever they find.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

use std::hint::black_box;
use std::net::IpAddr;

use allowlist::{Document, DomainName, KZ_EDUCATION_2020, Matcher, Transport};

/// The shipped list with address rules, dated rules and denies added.
fn matcher() -> Matcher {
    let text = format!(
        "{KZ_EDUCATION_2020}\n[[service]]\nid = \"media\"\n[[service.rule]]\nprefix = \"203.0.113.0/24\"\n\
         protocol = \"udp\"\nports = [\"8801-8810\"]\n[[service.rule]]\nprefix = \"203.0.0.0/16\"\nprotocol = \"udp\"\n\
         ports = [\"8801\"]\n[[service.rule]]\nprefix = \"2001:db8::/32\"\nprotocol = \"tcp\"\nports = [\"443\"]\n\
         [[service.rule]]\nhost = \"dated.kz\"\nto = 2020-05-01T00:00:00Z\n[[deny]]\nhost = \"ads.bilimland.kz\"\n"
    );
    Matcher::new(&Document::parse(&text).unwrap())
}

#[test]
fn t42_host_look_up_allocates_nothing() {
    let matcher = matcher();
    let instant = "2020-06-01T00:00:00Z".parse().unwrap();
    let at = Some(instant);
    let names: Vec<DomainName> = [
        "bilimland.kz",
        "a.b.c.d.bilimland.kz",
        "x.ads.bilimland.kz",
        "dated.kz",
        "a.very.long.name.that.is.not.listed.anywhere.example.org",
        "kz",
    ]
    .map(|text| DomainName::from_wire(text.as_bytes()).unwrap())
    .into();
    let counted = allocation_counter::measure(|| {
        for name in &names {
            for port in [443, 8443] {
                black_box(matcher.host(black_box(name), Transport::Tcp, port, at));
            }
            black_box(matcher.covers(black_box(name)));
            black_box(matcher.denied(black_box(name)));
        }
        black_box(matcher.next_change_after(instant));
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn t42_address_look_up_allocates_nothing() {
    let matcher = matcher();
    let addresses: Vec<IpAddr> =
        ["203.0.113.9", "203.0.9.9", "::ffff:203.0.113.9", "2001:db8::9", "192.0.2.1", "2001:dead::1"]
            .map(|text| text.parse().unwrap())
            .into();
    let mut hits = 0;
    let counted = allocation_counter::measure(|| {
        for address in &addresses {
            hits += usize::from(matcher.address(black_box(*address), Transport::Udp, 8801, None).is_some());
        }
    });
    assert_eq!((counted.count_total, hits), (0, 3), "{counted:?}");
}

#[test]
fn the_counter_counts() {
    assert!(allocation_counter::measure(|| drop(black_box(vec![1_u8]))).count_total > 0);
}
