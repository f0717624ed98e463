//! Blocks of ports, in the forms in which translators report them.

use gateway::wire::radius::{AddressKind, BLOCKS_MAX, BlockForm, Change};

use super::encode::{Encoder, accounting};
use super::read;

/// A block as text: form, address, ports, change.
fn texts(encoder: &Encoder) -> Vec<String> {
    let mut found = Vec::new();
    read(encoder, |facts| {
        assert!(facts.is_translated);
        for block in facts.blocks() {
            let sign = match block.change {
                Change::Add => '+',
                Change::Remove => '-',
                Change::Replace => '=',
            };
            found.push(format!("{:?} {sign}{} {}-{}", block.form, block.address, block.first, block.last));
        }
    });
    found
}

/// An IP-Port-Range of these TLVs.
fn ip_port_range(tlvs: &[(u8, &[u8])]) -> Encoder {
    accounting(3).tlvs(241, 6, tlvs)
}

/// A port as TLVs carry it.
fn port(port: u32) -> [u8; 4] {
    port.to_be_bytes()
}

#[test]
fn c32_nokia_reports_all_ranges_as_text_in_one_or_more_attributes() {
    let one = |text: &str, wanted: &[&str]| {
        assert_eq!(texts(&accounting(3).vendor(6527, &[(121, text.as_bytes())])), wanted, "{text:?}");
    };
    one("180.0.1.248 37674-37723 router base", &["Nokia =180.0.1.248 37674-37723"]);
    let two = ["Nokia =180.0.1.248 37674-37723", "Nokia =180.0.1.248 35807-38556"];
    one("180.0.1.248 37674-37723,35807-38556 router base", &two);
    one("180.0.1.248 0-65535 router 300", &["Nokia =180.0.1.248 0-65535"]);
    one("180.0.1.248 1024-1024", &["Nokia =180.0.1.248 1024-1024"]);
    for none in [
        "",
        "180.0.1.248",
        "180.0.1.248 router base",
        "180.0.1.248 1024-1023 router base",
        "180.0.1.248 1024-65536 router base",
        "180.0.1.248 1024 router base",
        "180.0.1.248 1024-1025, router base",
        "180.0.1.248 1024-1025,1 router base",
        "180.0.1.248 +1024-1025 router base",
        "180.0.1 1024-1025 router base",
        "0.0.0.0 1024-1025 router base",
        "2001:db8::1 1024-1025 router base",
    ] {
        one(none, &[]);
    }
    assert_eq!(texts(&accounting(3).vendor(6527, &[(121, &[0xff, 0xfe])])), [""; 0]);
    let several = accounting(3)
        .vendor(6527, &[(121, b"180.0.1.248 100-199 router base"), (121, b"180.0.1.249 300-399 router base")])
        .vendor(6527, &[(121, b"180.0.1.248 100-199 router base")]);
    assert_eq!(texts(&several), ["Nokia =180.0.1.248 100-199", "Nokia =180.0.1.249 300-399"]);
}

#[test]
fn c32_huawei_reports_four_numbers_that_belong_together() {
    let address: &[u8] = &[198, 51, 100, 7];
    let of = |first: u32, last: u32, update: Option<u32>| {
        let (first, last, update) = (port(first), port(last), update.map(port));
        let mut subs = vec![(161, address), (162, &first[..]), (163, &last)];
        subs.extend(update.as_ref().map(|update| (165, &update[..])));
        texts(&accounting(3).vendor(2011, &subs))
    };
    assert_eq!(of(1024, 2047, Some(0)), ["Huawei +198.51.100.7 1024-2047"]);
    assert_eq!(of(1024, 2047, Some(1)), ["Huawei -198.51.100.7 1024-2047"]);
    assert_eq!(of(1024, 2047, Some(3)), ["Huawei =198.51.100.7 1024-2047"]);
    assert_eq!(of(1024, 2047, None), ["Huawei +198.51.100.7 1024-2047"]);
    assert_eq!(of(65535, 65535, Some(0)), ["Huawei +198.51.100.7 65535-65535"]);
    for (first, last, update) in
        [(1024, 2047, 2), (1024, 2047, 4), (2, 1, 0), (1, 65536, 0), (65536, 65537, 0)]
    {
        assert_eq!(of(first, last, Some(update)), [""; 0]);
    }
    let (one, two, three, four, zero) = (port(1), port(2), port(3), port(4), port(0));
    let apart = accounting(3)
        .vendor(2011, &[(165, &zero)])
        .vendor(2011, &[(163, &two)])
        .vendor(9, &[(1, b"between")])
        .vendor(2011, &[(162, &one)])
        .vendor(2011, &[(161, address)]);
    assert_eq!(texts(&apart), ["Huawei +198.51.100.7 1-2"], "in any order, in attributes of their own");
    let twice: &[(u8, &[u8])] =
        &[(161, address), (162, &one), (163, &two), (165, &one), (162, &three), (163, &four), (165, &zero)];
    let wanted = ["Huawei -198.51.100.7 1-2", "Huawei +198.51.100.7 3-4"];
    assert_eq!(texts(&accounting(3).vendor(2011, twice)), wanted, "by their order");
    let uneven: [&[(u8, &[u8])]; 8] = [
        &[(162, &one), (163, &two)],
        &[(161, address), (162, &one)],
        &[(161, address), (163, &one)],
        &[(161, address), (162, &one), (163, &two), (162, &three)],
        &[(161, address), (162, &one), (163, &two), (163, b"400")],
        &[(161, address), (162, &one), (163, &two), (163, &four)],
        &[(161, address), (161, address), (162, &one), (163, &two)],
        &[(161, address), (162, &one), (163, &two), (165, &zero), (165, &one)],
    ];
    for subs in uneven {
        assert_eq!(texts(&accounting(3).vendor(2011, subs)), [""; 0], "{subs:?}");
    }
}

#[test]
fn c32_rfc_8045_reports_ranges_as_tlvs() {
    let address: &[u8] = &[198, 51, 100, 7];
    let (low, high, one, two) = (port(1024), port(2047), port(1), port(2));
    let range: &[(u8, &[u8])] = &[(8, &one), (3, address), (9, &low), (10, &high)];
    assert_eq!(texts(&ip_port_range(range)), ["IpPortRange +198.51.100.7 1024-2047"]);
    let back: &[(u8, &[u8])] =
        &[(10, &high), (9, &low), (8, &two), (3, address), (11, b"inside"), (77, b"?")];
    assert_eq!(texts(&ip_port_range(back)), ["IpPortRange -198.51.100.7 1024-2047"]);
    assert_eq!(texts(&ip_port_range(&range[1..])), ["IpPortRange +198.51.100.7 1024-2047"]);
    let both = ip_port_range(range).tlvs(241, 6, back);
    assert_eq!(texts(&both), ["IpPortRange +198.51.100.7 1024-2047", "IpPortRange -198.51.100.7 1024-2047"]);
    let (zero, three, beyond) = (port(0), port(3), port(65536));
    let none: [&[(u8, &[u8])]; 10] = [
        &[],
        &range[..3],
        &[(3, address), (10, &high)],
        &[(9, &low), (10, &high)],
        &[(8, &zero), (3, address), (9, &low), (10, &high)],
        &[(8, &three), (3, address), (9, &low), (10, &high)],
        &[(3, address), (9, &high), (10, &low)],
        &[(3, address), (9, &low), (10, &beyond)],
        &[(3, address), (9, &[4, 0]), (10, &high)],
        &[(3, &[0; 4]), (9, &low), (10, &high)],
    ];
    for tlvs in none {
        assert_eq!(texts(&ip_port_range(tlvs)), [""; 0], "{tlvs:?}");
    }
    let broken = accounting(3).attribute(241, &[6, 3, 6, 198, 51, 100, 7, 9, 9]);
    assert_eq!(texts(&broken), [""; 0]);
    for (kind, extended) in [(241, 5), (241, 7), (242, 6), (245, 6)] {
        read(&accounting(3).tlvs(kind, extended, range), |facts| {
            assert!(facts.blocks().is_empty() && !facts.is_translated, "{kind}.{extended}");
        });
    }
    read(&accounting(3).attribute(241, b"").attribute(1, b"bob"), |facts| assert!(facts.user_name.is_some()));
}

#[test]
fn c32_h3c_reports_three_numbers() {
    let address: &[u8] = &[198, 51, 100, 7];
    let (low, high) = (port(1024), port(2047));
    let of = |subs: &[(u8, &[u8])]| texts(&accounting(1).vendor(25_506, subs));
    assert_eq!(of(&[(32, address), (33, &low), (34, &high)]), ["H3c =198.51.100.7 1024-2047"]);
    let two: &[(u8, &[u8])] =
        &[(32, address), (33, &low), (34, &low), (32, &[198, 51, 100, 8]), (33, &high), (34, &high)];
    assert_eq!(of(two), ["H3c =198.51.100.7 1024-1024", "H3c =198.51.100.8 2047-2047"]);
    assert_eq!(of(&[(33, &low), (34, &high)]), [""; 0]);
    assert_eq!(of(&[(32, address), (33, &high), (34, &low)]), [""; 0]);
}

#[test]
fn c37_whole_outside_addresses_are_the_subscribers_with_all_ports() {
    let nokia = accounting(1).vendor(6527, &[(141, &[21, 0, 0, 113])]);
    assert_eq!(texts(&nokia), ["WholeAddress =21.0.0.113 0-65535"]);
    let vas_experts = accounting(1).vendor(43_823, &[(21, &[21, 0, 0, 114])]);
    assert_eq!(texts(&vas_experts), ["WholeAddress =21.0.0.114 0-65535"]);
    for none in [&[0; 4][..], &[255; 4], &[21, 0, 0], b""] {
        read(&accounting(1).vendor(43_823, &[(21, none)]).attribute(8, &[10, 0, 0, 7]), |facts| {
            assert!(facts.blocks().is_empty() && !facts.is_translated, "no address is no translator");
        });
    }
}

#[test]
fn c31_a_framed_ip_address_beside_blocks_is_an_inside_address() {
    let inside = || accounting(1).attribute(8, &[192, 168, 0, 1]);
    read(&inside(), |facts| assert!(!facts.is_translated));
    let (low, high) = (port(1024), port(2047));
    let translated = [
        inside().vendor(6527, &[(121, b"180.0.1.248 37674-37723 router base")]),
        inside().vendor(6527, &[(121, b"what nobody reads")]),
        inside().vendor(2011, &[(161, &[198, 51, 100, 7]), (162, &low), (163, &high)]),
        inside().vendor(2011, &[(162, &low)]),
        inside().tlvs(241, 6, &[(3, &[198, 51, 100, 7]), (9, &low), (10, &high)]),
        inside().tlvs(241, 6, &[]),
        inside().vendor(25_506, &[(32, &[198, 51, 100, 7])]),
        inside().vendor(6527, &[(141, &[21, 0, 0, 113])]),
        inside().vendor(43_823, &[(21, &[21, 0, 0, 113])]),
    ];
    for encoder in translated {
        read(&encoder, |facts| {
            assert!(facts.is_translated, "read or not");
            assert_eq!(facts.addresses.of(AddressKind::FramedIp).len(), 1, "what it says is said");
        });
    }
}

#[test]
fn c33_a_translators_own_accounting_names_the_inside_address() {
    let start = accounting(1)
        .attribute(1, b"LSN44@192.168.0.1")
        .attribute(8, &[192, 168, 0, 1])
        .vendor(6527, &[(11, b"LSN44@192.168.0.1"), (121, b"180.0.1.248 37674-37723 router base")]);
    read(&start, |facts| {
        assert_eq!(facts.addresses.of(AddressKind::FramedIp)[0].to_string(), "192.168.0.1/32");
        assert_eq!(facts.blocks().len(), 1);
        assert_eq!(facts.blocks()[0].form, BlockForm::Nokia);
    });
}

#[test]
fn blocks_hold_their_limit_and_tell_of_one_over() {
    let ranges = |count: usize| {
        (0..count).fold(accounting(3), |all, at| {
            let text = format!("180.0.1.248 {at}-{at} router base");
            all.vendor(6527, &[(121, text.as_bytes())])
        })
    };
    let count = |encoder: &Encoder, count: usize, is_over: bool| {
        read(encoder, |facts| assert_eq!((facts.blocks().len(), facts.is_over()), (count, is_over)));
    };
    assert_eq!(BLOCKS_MAX, 64);
    count(&ranges(64), 64, false);
    count(&ranges(65), 64, true);
    let numbers = |count: u32| {
        (0..count).fold(accounting(3).vendor(2011, &[(161, &[198, 51, 100, 7])]), |all, at| {
            all.vendor(2011, &[(162, &port(at)), (163, &port(at))])
        })
    };
    count(&numbers(64), 64, false);
    count(&numbers(65), 0, true);
}
