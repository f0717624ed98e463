//! Resolvers and clients of another make: what they say comes through byte for byte, and dnstap teaches as the plane does.

use std::net::Ipv4Addr;

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::plane::*;
use support::unbound::{LISTED, Unbound};
use support::{PATIENCE, Setup, eventually, has};

#[test]
fn n4_t20_unbound_s_answers_come_through_byte_for_byte() {
    if !has("unbound") {
        return;
    }
    let unbound = Unbound::start("");
    let (gateway, address) = gateway(&[unbound.address], |setup| setup);
    for (name, kind) in [
        ("www.zone.example", A),
        ("wWw.ZoNe.eXaMpLe", AAAA),
        ("odd.zone.example", 65_400),
        ("none.zone.example", A),
        ("www.zone.example", 16),
        ("long.zone.example", 16),
        (LISTED, HTTPS),
    ] {
        let asked = query(0x1234, name, kind);
        let direct = ask(Ipv4Addr::LOCALHOST, unbound.address, &asked, PATIENCE).unwrap();
        let relayed = ask(subscriber(1), address, &asked, PATIENCE).unwrap();
        assert_eq!(relayed, direct, "{name} {kind}");
    }
    gateway.stop();
}

/// A zone signed by BIND's tools and served by Unbound: signatures, denials and the AD bit come through unharmed.
#[test]
fn n4_answers_of_a_signed_zone_come_through_byte_for_byte() {
    if !has("unbound") || !has("dnssec-signzone") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, words: &[&str]| {
        let output =
            std::process::Command::new(program).args(words).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let records = "$TTL 60\n@ SOA ns.signed.example. admin.signed.example. 1 3600 600 86400 60\n@ NS ns.signed.example.\n\
                   ns A 127.0.2.53\nwww A 127.0.2.1\nwww AAAA 2001:db8::1\n";
    std::fs::write(folder.path().join("zone"), records).unwrap();
    run("dnssec-keygen", &["-q", "-a", "ECDSAP256SHA256", "signed.example"]);
    run("dnssec-keygen", &["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "signed.example"]);
    run("dnssec-signzone", &["-S", "-o", "signed.example", "-f", "zone.signed", "zone"]);
    let unbound = Unbound::start(&format!(
        "auth-zone:\n name: \"signed.example\"\n zonefile: \"{}\"\n for-downstream: yes\n for-upstream: yes\n",
        folder.path().join("zone.signed").display()
    ));
    let (gateway, address) = gateway(&[unbound.address], |setup| setup);
    let signature = 46_u16.to_be_bytes();
    for (name, kind) in [
        ("www.signed.example", A),
        ("www.signed.example", AAAA),
        ("none.signed.example", A),
        ("signed.example", 48),
    ] {
        let asked = query(0x77, name, kind);
        let direct = ask(Ipv4Addr::LOCALHOST, unbound.address, &asked, PATIENCE).unwrap();
        assert!(direct.windows(2).any(|bytes| bytes == signature), "{name} {kind} is not signed: {direct:?}");
        assert_eq!(ask(subscriber(1), address, &asked, PATIENCE).unwrap(), direct, "{name} {kind}");
    }
    gateway.stop();
}

#[test]
fn t20_a_truncated_answer_is_asked_for_again_over_tcp() {
    if !has("unbound") || !has("dig") {
        return;
    }
    let unbound = Unbound::start("");
    let (gateway, address) = gateway(&[unbound.address], |setup| setup);
    let said = dig(subscriber(1), address, &["long.zone.example", "TXT"]);
    assert!(said.contains("retrying in TCP mode") && said.contains("ANSWER: 12"), "{said}");
    let said = dig(subscriber(1), address, &["+tcp", "www.zone.example", "A"]);
    assert!(said.contains("127.0.2.1") && said.contains("(TCP)"), "{said}");
    gateway.stop();
}

#[test]
fn dnstap_of_an_unbound_of_the_operator_s_own_teaches_like_our_plane() {
    if !has("unbound") {
        return;
    }
    let setup = Setup::new().proxied();
    let socket = setup.path("dnstap.sock");
    let resolver = Resolver::new(&[]);
    let gateway = setup
        .set("dns", "listen = [\"127.0.0.1:0\"]")
        .set("dns", &format!("upstream = [\"{}\"]", resolver.address))
        .set("dns", "dnstap_socket = \"dnstap.sock\"")
        .start();
    let unbound = Unbound::telling(&socket);
    let learnt = || {
        ask(subscriber(1), unbound.address, &query(5, LISTED, A), PATIENCE).unwrap();
        gateway.metric("zrgw_trusted_answers") >= 1
    };
    assert!(eventually(learnt), "{}", gateway.log());
    assert_eq!(resolver.asked(LISTED), 0);
    gateway.stop();
}
