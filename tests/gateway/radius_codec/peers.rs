//! Clients of another make: radclient of FreeRADIUS sends, and takes our answers; tshark reads both.

use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use gateway::wire::radius::{AddressKind, Change, Facts, Packet, RequestKind, Status, answer, authentic};
use support::capture::{ETHERNET, ethernet, ip, pcap, udp};
use support::has;

use super::encode::assert_answers;

/// What radclient and we know.
const SECRET: &str = "xyzzy5461 of sixteen";

/// What radclient was told to send, the request that came, and what we answered.
struct Exchange {
    request: Vec<u8>,
    answer: Vec<u8>,
    output: Output,
}

/// Lets radclient send these attributes and answers it with `secret`.
fn exchange(command: &str, attributes: &str, secret: &str) -> Exchange {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut client = Command::new("radclient")
        // After an answer it does not take it waits until the end of its patience.
        .args(["-x", "-r", "1", "-t", if secret == SECRET { "30" } else { "5" }])
        // Not the machine's own words, which only its RADIUS server may read: a folder without any.
        .args(["-d", env!("CARGO_MANIFEST_DIR")])
        .args([&socket.local_addr().unwrap().to_string(), command, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(attributes.as_bytes()).unwrap();
    let mut octets = [0; 8192];
    let (length, from) = match socket.recv_from(&mut octets) {
        Ok(received) => received,
        Err(error) => {
            client.kill().unwrap();
            panic!("radclient sent nothing ({error}): {}", said(&client.wait_with_output().unwrap()));
        }
    };
    let request = octets[..length].to_vec();
    let mut answered = Vec::new();
    answer(
        &authentic(Packet::parse(&request).unwrap(), SECRET.as_bytes()).unwrap(),
        secret.as_bytes(),
        &mut answered,
    );
    socket.send_to(&answered, from).unwrap();
    Exchange { request, answer: answered, output: client.wait_with_output().unwrap() }
}

/// What a program said.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Sends, answers, and asserts that radclient took the answer.
fn taken(command: &str, attributes: &str) -> Exchange {
    let exchange = exchange(command, attributes, SECRET);
    assert!(exchange.output.status.success(), "{attributes}: {}", said(&exchange.output));
    assert!(said(&exchange.output).contains("Received Accounting-Response"), "{}", said(&exchange.output));
    assert_answers(&exchange.answer, &exchange.request, SECRET.as_bytes());
    exchange
}

/// What a request of radclient says.
fn read(request: &[u8], check: impl FnOnce(Facts<'_>)) {
    check(Facts::of(&authentic(Packet::parse(request).unwrap(), SECRET.as_bytes()).unwrap()));
}

/// A Start of a mobile network.
const START: &str = "Acct-Status-Type = Start, Acct-Session-Id = \"0001-a\", NAS-IP-Address = 192.0.2.1, \
    NAS-IPv6-Address = 2001:db8::1, NAS-Identifier = \"bng-1\", User-Name = \"bob@isp.example\", \
    Calling-Station-Id = \"+79161234567\", Class = 0x00ff, Event-Timestamp = 1796000000, Acct-Delay-Time = 3, \
    Framed-IP-Address = 10.0.0.7, Framed-IPv6-Prefix = 2001:db8:1:2::/64, Framed-IPv6-Address = 2001:db8::7, \
    Delegated-IPv6-Prefix = 2001:db8:5:600::/56, Framed-Route = \"192.168.1.0/24 0.0.0.0 1\", \
    Framed-IPv6-Route = \"2001:db8:9::/48 :: 1\", 3GPP-IMSI = \"250011234567890\", 3GPP-Charging-ID = 258, \
    3GPP-SGSN-Address = 192.0.2.6, 3GPP-GGSN-Address = 192.0.2.7, 3GPP-Charging-Characteristics = \"0800\"\n";

#[test]
fn radclient_is_understood_and_takes_the_answer() {
    if !has("radclient") {
        return;
    }
    read(&taken("acct", START).request, |facts| {
        assert_eq!(facts.status, Status::Start);
        assert_eq!(facts.acct_session_id, Some(&b"0001-a"[..]));
        assert_eq!(facts.nas.ip, Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(facts.nas.ipv6.unwrap().to_string(), "2001:db8::1");
        assert_eq!(facts.nas.identifier, Some(&b"bng-1"[..]));
        assert_eq!((facts.event_timestamp_s, facts.delay_s), (Some(1_796_000_000), Some(3)));
        assert_eq!(facts.class, Some(&[0, 0xff][..]));
        let prefixes: Vec<String> = AddressKind::ALL
            .iter()
            .flat_map(|kind| facts.addresses.of(*kind))
            .map(ToString::to_string)
            .collect();
        let wanted = ["10.0.0.7/32", "2001:db8::7/128", "2001:db8:1:2::/64", "2001:db8:5:600::/56"];
        assert_eq!(prefixes[..4], wanted);
        assert_eq!(prefixes[4..], ["192.168.1.0/24", "2001:db8:9::/48"]);
        assert_eq!(facts.mobile.imsi, Some(&b"250011234567890"[..]));
        assert_eq!(facts.mobile.charging_id, Some(258));
        assert_eq!(facts.mobile.sgsn_address, Some(Ipv4Addr::new(192, 0, 2, 6)));
        assert_eq!(facts.mobile.ggsn_address, Some(Ipv4Addr::new(192, 0, 2, 7)));
        assert_eq!(facts.mobile.charging_characteristics, Some(&b"0800"[..]));
        let words = ["calling-station-id:msisdn".parse().unwrap()];
        assert_eq!(facts.subscriber(&words).unwrap().1, "79161234567");
    });
    let stop = "Acct-Status-Type = Stop, Acct-Session-Id = \"0001-a\", Acct-Session-Time = 870, \
        Acct-Input-Octets = 5, Acct-Input-Gigawords = 2, Acct-Output-Octets = 4294967295\n";
    read(&taken("acct", stop).request, |facts| {
        assert_eq!((facts.status, facts.session_s), (Status::Stop, Some(870)));
        assert_eq!(
            (facts.input_octets, facts.output_octets),
            (Some((2 << 32) + 5), Some(u64::from(u32::MAX)))
        );
    });
    for (word, status) in
        [("Accounting-On", Status::On), ("Interim-Update", Status::Interim), ("9", Status::Other(9))]
    {
        let attributes = format!("Acct-Status-Type = {word}, NAS-Identifier = \"bng-1\"\n");
        read(&taken("acct", &attributes).request, |facts| assert_eq!(facts.status, status));
    }
}

#[test]
fn c32_radclient_writes_the_blocks_of_every_form() {
    if !has("radclient") {
        return;
    }
    let interim = "Acct-Status-Type = Interim-Update, Acct-Session-Id = \"0001-a\", Framed-IP-Address = 192.168.0.1, \
        Alc-Nat-Port-Range = \"180.0.1.248 37674-37723,35807-38556 router base\", \
        Huawei-NAT-Public-Address = 198.51.100.7, Huawei-NAT-Start-Port = 1024, Huawei-NAT-End-Port = 2047, \
        Huawei-NAT-Port-Range-Update = 1, H3C-NAT-IP-Address = 198.51.100.8, H3C-NAT-Start-Port = 3000, \
        H3C-NAT-End-Port = 3999, IP-Port-Range-Ext-IPv4-Addr = 198.51.100.9, IP-Port-Range-Alloc = Allocation, \
        IP-Port-Range-Range-Start = 4000, IP-Port-Range-Range-End = 4999, VasExperts-NAT-IP = 198.51.100.10, \
        Alc-Nat-Outside-Ip-Addr = 198.51.100.11\n";
    read(&taken("acct", interim).request, |facts| {
        let mut found: Vec<(String, u16, u16, Change)> = facts
            .blocks()
            .iter()
            .map(|block| (block.address.to_string(), block.first, block.last, block.change))
            .collect();
        found.sort_by_key(|(_, first, ..)| *first);
        let wanted = [
            ("198.51.100.10", 0, 65535, Change::Replace),
            ("198.51.100.11", 0, 65535, Change::Replace),
            ("198.51.100.7", 1024, 2047, Change::Remove),
            ("198.51.100.8", 3000, 3999, Change::Replace),
            ("198.51.100.9", 4000, 4999, Change::Add),
            ("180.0.1.248", 35807, 38556, Change::Replace),
            ("180.0.1.248", 37674, 37723, Change::Replace),
        ];
        let wanted = wanted.map(|(address, first, last, change)| (address.to_owned(), first, last, change));
        assert_eq!(found, wanted);
    });
}

#[test]
fn c25_radclient_takes_a_message_authenticator_and_its_proxy_states() {
    if !has("radclient") {
        return;
    }
    let attributes = "Acct-Status-Type = Start, Acct-Session-Id = \"0001-a\", Message-Authenticator = 0x00, \
        Proxy-State = 0x31, Proxy-State = 0x3232\n";
    let Exchange { answer, output, .. } = taken("acct", attributes);
    let kinds: Vec<u8> = super::encode::attributes(&answer).iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [80, 33, 33]);
    assert!(said(&output).contains("Proxy-State = 0x3232"), "{}", said(&output));
}

#[test]
fn c26_radclient_takes_the_answer_to_status_server() {
    if !has("radclient") {
        return;
    }
    let Exchange { request, .. } =
        taken("status", "Message-Authenticator = 0x00, NAS-Identifier = \"relay\"\n");
    let request = authentic(Packet::parse(&request).unwrap(), SECRET.as_bytes()).unwrap();
    assert_eq!(request.kind(), RequestKind::StatusServer);
}

#[test]
fn radclient_takes_no_answer_of_another_secret() {
    if !has("radclient") {
        return;
    }
    let refused = |command, attributes| {
        let Exchange { output, .. } = exchange(command, attributes, "another secret");
        assert!(!output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("Reply verification failed"), "{}", said(&output));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| refused("acct", "Acct-Status-Type = Start, Acct-Session-Id = \"0001-a\"\n"));
        scope.spawn(|| refused("status", "Message-Authenticator = 0x00\n"));
    });
}

#[test]
fn tshark_reads_the_same_and_finds_both_authenticators_right() {
    if !has("radclient") || !has("tshark") {
        return;
    }
    let attributes = START.replace("\n", ", Message-Authenticator = 0x00, Proxy-State = 0x31\n");
    let Exchange { request, answer, .. } = taken("acct", &attributes);
    let (client, server) = (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(192, 0, 2, 2).into());
    let frames = [
        ethernet(&ip(client, server, 17, &udp(50_000, 1813, &request))),
        ethernet(&ip(server, client, 17, &udp(1813, 50_000, &answer))),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("radius.pcap");
    std::fs::write(&path, pcap(ETHERNET, &frames)).unwrap();
    let output = Command::new("tshark")
        .args([
            "-n",
            "-o",
            &format!("radius.shared_secret:{SECRET}"),
            "-o",
            "radius.validate_authenticator:TRUE",
        ])
        .args(["-T", "fields", "-E", "separator=|"])
        .args(["-e", "radius.code", "-e", "radius.authenticator.valid", "-e", "radius.authenticator.invalid"])
        .args([
            "-e",
            "radius.Framed-IP-Address",
            "-e",
            "radius.Proxy_State",
            "-e",
            "radius.Acct_Session_Id",
            "-r",
        ])
        .arg(&path)
        .output()
        .unwrap();
    println!("{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(lines.len(), 2, "{}", said(&output));
    assert_eq!((lines[0][0], lines[0][3], lines[0][5]), ("4", "10.0.0.7", "0001-a"));
    assert_eq!((lines[1][0], lines[1][4]), ("5", "31"));
    assert!(lines.iter().all(|line| line[2].is_empty() || line[2] == "0" || line[2] == "False"), "{text}");
    assert!(lines[1][1] == "1" || lines[1][1] == "True", "{text}");
}
