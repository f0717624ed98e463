//! What a flow says it is called: when it is known, when it is enough for a verdict, and what overturns it.

use billing_export::Reason;
use gateway::flow::engine::{Claim, News, ProtocolLabel};
use gateway::flow::identify::{IdentifyLimits, Identity, SeenIn};
use gateway::wire::quic::QuicLimits;

use super::capture::{hello, hello_message, request};
use super::quic::Initial;

/// The client's first record of application data.
const DATA: [u8; 6] = [23, 3, 3, 0, 1, 0];

fn stream() -> Claim {
    Claim::of_stream(&IdentifyLimits::default())
}

fn datagrams() -> Claim {
    Claim::of_datagrams(&QuicLimits::default())
}

/// A datagram with the hello of a connection to this id.
fn initial(name: &str, id: u8) -> Vec<u8> {
    Initial::of(&hello_message(name, 0)).to(&[id; 8]).seal()
}

/// The name and what is wrong with it.
fn told(claim: &Claim) -> (Option<&str>, Option<Reason>) {
    claim
        .identity()
        .map_or((None, None), |identity| (identity.name.as_ref().map(|name| name.as_str()), identity.gave_up))
}

#[test]
fn t5_a_streams_name_is_enough_for_a_verdict_when_no_second_hello_can_follow() {
    let mut claim = stream();
    let bytes = hello("listed.example");
    let (head, tail) = bytes.split_at(20);
    assert_eq!((claim.observe(head), told(&claim)), (News::None, (None, None)));
    assert_eq!((claim.observe(tail), told(&claim)), (News::Name, (Some("listed.example"), None)));
    assert!(claim.is_observed() && !claim.is_readable());
    assert_eq!(claim.observe(&hello("listed.example")), News::None, "the same name again");
    assert_eq!(claim.observe(&DATA), News::Verdict);
    assert!(!claim.is_observed() && claim.is_readable() && claim.reader_bytes() == 0);
    assert_eq!(claim.observe(&hello("other.example")), News::None, "nobody reads on");
    assert_eq!((told(&claim), claim.protocol()), ((Some("listed.example"), None), ProtocolLabel::Tls));
}

#[test]
fn t5_a_second_name_on_a_stream_overturns_the_first() {
    let mut claim = stream();
    assert_eq!(claim.observe(&hello("listed.example")), News::Name);
    assert_eq!(claim.observe(&hello("other.example")), News::Verdict);
    assert_eq!(told(&claim), (Some("listed.example"), Some(Reason::SecondName)));
}

#[test]
fn a_request_and_what_is_neither_are_judged_at_once() {
    let mut claim = stream();
    assert_eq!(claim.observe(&request("listed.example")), News::Verdict);
    assert_eq!((told(&claim), claim.protocol()), ((Some("listed.example"), None), ProtocolLabel::Http));
    let mut claim = stream();
    assert_eq!(claim.observe(b"\x00\x01\x02"), News::Verdict);
    assert_eq!((told(&claim), claim.protocol()), ((None, Some(Reason::NotRecognised)), ProtocolLabel::Tcp));
}

#[test]
fn a_deadline_ends_the_wait_for_a_name_and_not_the_watch_for_a_second() {
    let mut silent = stream();
    silent.deadline();
    assert_eq!((told(&silent), silent.is_observed()), ((None, Some(Reason::Timeout)), false));
    let mut named = stream();
    named.observe(&hello("listed.example"));
    named.deadline();
    assert_eq!((told(&named), named.is_observed()), ((Some("listed.example"), None), true));
    assert_eq!(named.observe(&hello("other.example")), News::Verdict);
    let mut named = datagrams();
    named.observe(&initial("listed.example", 1));
    named.deadline();
    assert_eq!((told(&named), named.is_observed()), ((Some("listed.example"), None), true));
    let mut silent = datagrams();
    silent.deadline();
    assert_eq!(told(&silent), (None, Some(Reason::NotRecognised)));
}

#[test]
fn the_end_settles_what_is_known_and_says_nothing_twice() {
    let mut named = stream();
    named.observe(&hello("listed.example"));
    assert_eq!((named.finish(), named.finish()), (News::Verdict, News::None));
    assert_eq!(told(&named), (Some("listed.example"), None));
    let mut cut_short = stream();
    cut_short.observe(&hello("listed.example")[..30]);
    assert_eq!((cut_short.finish(), told(&cut_short)), (News::Verdict, (None, Some(Reason::Undecided))));
    let mut named = datagrams();
    named.observe(&initial("listed.example", 1));
    assert_eq!((named.finish(), told(&named)), (News::Verdict, (Some("listed.example"), None)));
}

#[test]
fn t16_a_datagrams_name_is_enough_at_once_and_another_overturns_it() {
    let mut claim = datagrams();
    assert_eq!(claim.observe(&initial("listed.example", 1)), News::Verdict);
    assert!(claim.is_readable() && claim.is_observed());
    assert_eq!(claim.protocol(), ProtocolLabel::Quic);
    assert_eq!(claim.observe(&initial("listed.example", 2)), News::None);
    assert_eq!(claim.observe(&initial("other.example", 3)), News::Verdict);
    assert_eq!(told(&claim), (Some("listed.example"), Some(Reason::SecondName)));
}

#[test]
fn t16_an_inherited_name_is_read_on_by_long_headers_alone() {
    let mut first = datagrams();
    first.observe(&initial("listed.example", 1));
    let identity = first.identity().unwrap().clone();
    let inherited = || {
        let mut claim = datagrams();
        claim.inherit(identity.clone());
        claim
    };
    let mut claim = inherited();
    assert!(claim.is_readable() && claim.is_observed());
    assert_eq!(claim.protocol(), ProtocolLabel::Quic);
    assert_eq!(claim.observe(&[0x40; 60]), News::None, "a short header");
    assert_eq!(claim.observe(&initial("listed.example", 2)), News::None);
    assert_eq!((claim.finish(), told(&claim)), (News::Verdict, (Some("listed.example"), None)));
    let mut claim = inherited();
    assert_eq!(claim.observe(&initial("other.example", 2)), News::Verdict);
    assert_eq!(told(&claim), (Some("listed.example"), Some(Reason::SecondName)));
    assert!(!claim.is_observed());
    let mut claim = inherited();
    claim.deadline();
    assert_eq!((told(&claim), claim.is_observed()), ((Some("listed.example"), None), true));
}

#[test]
fn what_is_not_read_has_its_reason_and_what_is_stopped_keeps_an_older_one() {
    let mut unread = stream().unread(Reason::Overload);
    assert_eq!(unread.observe(&hello("listed.example")), News::None);
    assert_eq!((told(&unread), unread.is_readable()), ((None, Some(Reason::Overload)), true));
    let mut stopped = stream();
    stopped.observe(&hello("listed.example"));
    stopped.stop(Reason::Overload);
    assert_eq!(told(&stopped), (Some("listed.example"), Some(Reason::Overload)));
    let mut nameless = stream();
    nameless.stop(Reason::Overload);
    assert_eq!((told(&nameless), nameless.is_readable()), ((None, Some(Reason::Overload)), true));
    let mut contradicted = stream();
    contradicted.observe(&hello("listed.example"));
    contradicted.observe(&hello("other.example"));
    contradicted.stop(Reason::Overload);
    assert_eq!(told(&contradicted), (Some("listed.example"), Some(Reason::SecondName)));
}

#[test]
fn a_flow_that_continues_a_nameless_one_is_plain_udp() {
    let mut claim = datagrams();
    claim.inherit(Identity::nameless(Reason::NoName));
    assert_eq!(claim.protocol(), ProtocolLabel::Udp);
    assert_eq!(ProtocolLabel::of_stream(Some(SeenIn::HttpHost)).label(), "http");
}
