//! Tests of `nft`.

use super::*;

fn plan() -> Plan {
    let tap = |address: &str, interception, udp| Tap {
        address: address.parse().unwrap(),
        interception,
        tcp: true,
        udp,
    };
    Plan {
        table: "zrgw".to_owned(),
        candidates_only: false,
        candidates_max: 1_000,
        silent_max: 500,
        nat64: Nat64::default(),
        interfaces: vec!["eth1".to_owned()],
        source_validation: true,
        tcp_ports: vec![80, 443],
        udp_ports: vec![443],
        divert_mark: 1,
        upstream_mark: 2,
        route_table: 300,
        rule_priority: 100,
        alive_timeout: Duration::from_secs(3),
        dscps: vec![10],
        private_too: false,
        taps: vec![
            tap("0.0.0.0:9443", Interception::Tproxy, true),
            tap("[::1]:9444", Interception::Tproxy, false),
            tap("0.0.0.0:9445", Interception::Redirect, false),
        ],
    }
}

#[test]
fn flows_are_taken_by_the_version_transport_and_port_of_a_listener_and_only_while_it_is_alive() {
    let text = plan().ruleset();
    for line in [
        "meta l4proto tcp meta l4proto @alive tcp dport { 80, 443 } tcp flags & (fin | syn | rst | ack) == syn tproxy ip to :9443 meta mark set 1 notrack accept",
        "tcp flags & (fin | syn | rst | ack) == syn tproxy ip to :9443 update @opening4 { ip saddr . tcp sport . ip daddr . tcp dport } meta mark set 1 notrack accept",
        "tcp flags & (fin | syn | rst | ack) == ack ip saddr . tcp sport . ip daddr . tcp dport @opening4 tproxy ip to :9443 meta mark set 1 notrack accept",
        "tcp flags & (fin | syn | rst | ack) == ack ip6 saddr . tcp sport . ip6 daddr . tcp dport @opening6 tproxy ip6 to [::1]:9444 meta mark set 1 notrack accept",
        "meta l4proto udp meta l4proto @alive udp dport 443 tproxy ip to :443 meta mark set 1 notrack accept",
        "meta l4proto tcp meta l4proto @alive tcp dport { 80, 443 } tcp flags & (fin | syn | rst | ack) == syn tproxy ip6 to [::1]:9444 meta mark set 1 notrack accept",
        "meta nfproto ipv4 meta l4proto tcp meta l4proto @alive tcp dport { 80, 443 } redirect to :9445",
        "iifname != { \"eth1\" } return",
        "oifname != { \"eth1\" } return",
        "The subscriber's own mark never passes for ours.\n\t\tip dscp 10 ip dscp set 0\n\t\tip6 dscp 10 ip6 dscp set 0",
        "The server's own mark never passes for ours.\n\t\tip dscp 10 ip dscp set 0\n\t\tip6 dscp 10 ip6 dscp set 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let taken = text.lines().filter(|line| line.contains("tproxy") || line.contains("redirect to"));
    assert!(taken.clone().all(|line| line.contains("@alive")));
    assert_eq!(taken.count(), 8);
    assert!(!text.contains("candidates"));
    let text = Plan { candidates_only: true, private_too: true, ..plan() }.ruleset();
    assert!(text.contains("ip daddr != @candidates4 ip daddr != @prefixes4 return"), "{text}");
    assert!(
        text.contains(
            "ip6 daddr != @candidates6 ip6 daddr != @prefixes6 ip6 daddr != { 64:ff9b::/96 } return"
        )
    );
    assert!(text.contains("size 1000"), "{text}");
    assert!(!text.contains("10.0.0.0/8"));
}

#[test]
fn f17_sources_are_held_against_their_interface_before_anything_is_taken() {
    let validates = "fib saddr . iif oif missing counter return";
    let text = plan().ruleset();
    // Once for each way of taking, behind what holds open flows and in front of what takes new ones.
    assert_eq!(text.matches(validates).count(), 2, "{text}");
    for (before, behind) in [("jump held", "jump take"), ("chain redirected", "redirect to :9445")] {
        let (_, rest) = text.split_once(before).unwrap();
        let (between, _) = rest.split_once(behind).unwrap();
        assert!(between.contains(validates), "{text}");
    }
    assert!(!Plan { source_validation: false, ..plan() }.ruleset().contains("fib saddr . iif"));
}

#[test]
fn routing_is_taken_back_as_it_was_made() {
    let plan = plan();
    assert_eq!(plan.routing().len(), 4);
    assert_eq!(plan.unrouting().len(), 4);
    let redirected = Plan { taps: vec![plan.taps[2]], ..plan };
    assert_eq!(redirected.routing(), [""; 0]);
}
