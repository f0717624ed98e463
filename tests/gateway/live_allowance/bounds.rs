//! What a cap bounds that nothing else can: steering by DNS, tunnels through a listed resolver, shared addresses.

use std::net::{SocketAddr, TcpStream, UdpSocket};

use support::ask::{A, ask, query};
use support::client::*;
use support::datagrams::proxy_v2_udp;
use support::dns::Resolver;
use support::hellos::Hello;
use support::origin::{self, Origin};
use support::plane::{self, start};
use support::udp_world::UdpWorld;
use support::zone;
use support::{LIST, PATIENCE, Setup};

use super::{LIMIT, LISTED, STEP, browse, echo, go_on, sum, with};

#[test]
fn who_has_nothing_left_is_no_longer_led_to_us_for_that_service_alone() {
    let origin = Origin::echo();
    let names = [LISTED, "other-listed.example"];
    let resolver = Resolver::new(&names.map(|name| (name, origin.octets())));
    let (gateway, address) = start(zone::far_from_midnight(
        Setup::new()
            .steered()
            .resolver(resolver.address)
            .port_map(&[(443, origin.port())])
            .set("dns", "listen = [\"127.0.0.1:0\"]")
            .set("dns", "steer_addresses = [\"127.0.0.1\"]")
            .set("export", "byte_basis = \"payload\"")
            .raw("[[allowance.group]]\nid = \"g\"\nservices = [\"school\"]\ndaily = \"64 KiB\"\n"),
    ));
    let is_led = |number: u8, name: &str| {
        let answer = ask(subscriber(number), address, &query(3, name, A), PATIENCE).unwrap();
        answer.windows(4).any(|bytes| bytes == [127, 0, 0, 1])
    };
    assert!(is_led(1, LISTED));
    // What the first leaves over, because it was on its way to the subscriber, the others take.
    let spends = || {
        let mut client = connect_from(subscriber(1), gateway.listener(0));
        browse(&mut client, 1 << 16);
        assert_eq!(finish(client), b"");
        !is_led(1, LISTED)
    };
    assert!(support::eventually(spends));
    assert!(is_led(1, "other-listed.example"));
    assert!(is_led(2, LISTED));
    gateway.stop();
}

/// A resolver in the list by its address, and what tunnels through it: nothing but the cap knows it from questions.
#[test]
fn t22_a_tunnel_through_a_listed_resolver_is_exempt_up_to_its_cap() {
    const DATAGRAM: usize = 512;
    const DATAGRAMS: u64 = 400;
    let server = UdpSocket::bind("127.0.2.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((count, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&buffer[..count], from);
        }
    });
    let world = UdpWorld::with(port, |setup| {
        let rule = "[[service]]\nid = \"resolver\"\nname = \"Resolver\"\nowner = \"The operator\"\nreference = \"Test\"\n\n[[service.rule]]\nprefix = \"127.0.2.0/24\"\nprotocol = \"udp\"\nports = [\"53\"]\n\n[[deny]]";
        setup.write("list.toml", LIST.replace("[[deny]]", rule));
        let setup = setup.port_map(&[(53, port), (443, port)]);
        with("daily = \"10 MiB\"")(setup).raw(
            "[[allowance.group]]\nid = \"dns\"\nservices = [\"resolver\"]\ndaily = \"100 KiB\"\nmonthly = \"1 MiB\"\n",
        )
    });
    let destination = SocketAddr::from(([127, 0, 2, 1], 53));
    let client = support::datagrams::socket([127, 0, 0, 1]);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let header = proxy_v2_udp(proxied_subscriber(1), destination);
    for number in 0..DATAGRAMS {
        let datagram = [&header[..], &[number as u8; DATAGRAM]].concat();
        client.send_to(&datagram, world.gateway.listener(1)).unwrap();
        let mut answer = [0; 2_048];
        assert_eq!(client.recv(&mut answer).unwrap(), DATAGRAM);
    }
    let usage = world.gateway.stop_and_count();
    // Datagrams are counted as they pass: not a byte is missing.
    assert_eq!(sum(usage.exempt_for("s1", "resolver")), 100 << 10);
    assert_eq!(sum(usage.of("s1")), 2 * DATAGRAMS * DATAGRAM as u64);
    assert_eq!(usage.reasons("s1"), ["cap_reached"]);
}

/// A listed name in front, another site behind it at the same address: what is inside nobody sees, but how much of it is.
#[test]
fn t24_what_may_hide_behind_a_shared_address_is_bounded_by_its_cap_and_other_addresses_are_not() {
    let shared = Origin::echo();
    let own = Origin::at(SocketAddr::from(([127, 0, 2, 9], 0)), origin::echo);
    let resolver = Resolver::new(&[(LISTED, shared.octets())]);
    resolver.add("own.listed.example", own.octets());
    let setup = Setup::new().proxied().steered();
    let setup = setup.port_map(&[(443, shared.port()), (8_443, own.port())]);
    let setup = with("shared_address_daily = \"256 KiB\"")(setup.resolver(resolver.address));
    // The operator knows: what subscribers ask for would have to be said by many (F1).
    let stated = format!("shared_addresses = [\"{}\"]", shared.address.ip());
    let setup = setup.set("trusted_answers", &stated);
    let list = LIST.replace(
        "scope = \"subtree\"",
        "scope = \"subtree\"\nprotocol = \"tcp\"\nports = [\"443\", \"8443\"]",
    );
    setup.write("list.toml", list);
    let (gateway, address) = start(plane::with_plane(setup, &[resolver.address]));
    for name in [LISTED, "own.listed.example"] {
        assert!(ask(subscriber(2), address, &query(1, name, A), PATIENCE).is_some());
    }
    let visit = |mut client: TcpStream, name: &str| {
        let hello = [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
        echo(&mut client, &hello);
        let carried = hello.len() as u64 + go_on(&mut client, LIMIT / 2);
        assert_eq!(finish(client), b"");
        2 * carried
    };
    let proxied = |number: u8, origin: &Origin, port: u16| {
        connect_proxied(number, gateway.listener(0), SocketAddr::new(origin.address.ip(), port))
    };
    // In both modes: who is led to us reaches the same address of the site.
    let fronted = [
        visit(proxied(1, &shared, 443), LISTED),
        visit(connect_from(subscriber(4), gateway.listener(1)), LISTED),
    ];
    let plain = visit(proxied(3, &own, 8_443), "own.listed.example");
    let usage = gateway.stop_and_count();
    for (subscriber, carried) in ["s1", "s4"].into_iter().zip(fronted) {
        let exempt = sum(usage.exempt(subscriber));
        assert!(exempt <= 256 << 10 && exempt + 2 * STEP as u64 >= 256 << 10, "{subscriber} {exempt}");
        assert_eq!(exempt + sum(usage.charged(subscriber, "cap_reached")), carried);
    }
    assert_eq!(sum(usage.exempt("s3")), plain, "{:?}", usage.reasons("s3"));
}
