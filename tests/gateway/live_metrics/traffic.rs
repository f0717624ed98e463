//! Ordinary traffic through one gateway, and the metrics of its page that it moves.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use support::ask::{A, ask, query};
use support::client::*;
use support::dns::Resolver;
use support::hellos::Hello;
use support::origin::Origin;
use support::plane::{exchange, start, with_plane};
use support::unbound::LISTED;
use support::{Gateway, LIST, PATIENCE, Setup, eventually, zone};

/// A site whose rule takes DNS evidence alone.
const MEDIA: &str = "media.example";
/// What may be exempt of one subscriber.
const LIMIT: usize = 1 << 20;
/// Bytes of one exchange, each way.
const STEP: usize = 16_384;

/// Metrics of the page that are not 0; each on it says what it counts.
fn moved(gateway: &Gateway) -> BTreeSet<String> {
    let (_, page) = gateway.ask("/metrics").expect("admin endpoint");
    for name in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(page.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    let values = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let not_zero = values.filter(|(_, value)| value.parse::<f64>().unwrap() != 0.0);
    not_zero.map(|(name, _)| name.split('{').next().unwrap().to_owned()).collect()
}

/// Waits until the metric is not 0, and adds all that are not.
fn await_moved(seen: &mut BTreeSet<String>, gateway: &Gateway, metrics: &[&str]) {
    let all = eventually(|| {
        seen.extend(moved(gateway));
        metrics.iter().all(|metric| seen.contains(*metric))
    });
    let still: Vec<_> = metrics.iter().filter(|metric| !seen.contains(**metric)).collect();
    assert!(all, "{still:?} stand still\n{}", gateway.log());
}

/// A hello that settles the name, and so many bytes more, all echoed.
fn browse(mut client: TcpStream, bytes: usize) {
    let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    for sent in std::iter::once(hello).chain((0..bytes.div_ceil(STEP)).map(|_| vec![7; STEP])) {
        client.write_all(&sent).unwrap();
        assert_eq!(read_exactly(&mut client, sent.len()), sent);
    }
    assert_eq!(finish(client), b"");
}

/// Asks for names as subscriber `number` does; each is answered.
fn look_up(number: u8, plane: SocketAddr, names: &[&str]) {
    for name in names {
        assert!(ask(subscriber(number), plane, &query(1, name, A), PATIENCE).is_some(), "{name}");
    }
}

/// Subscribers who are led here, browse until their allowance is spent, and ask for other names.
pub(super) fn an_ordinary_evening(seen: &mut BTreeSet<String>) {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets()), ("unlisted.example", origin.octets())]);
    let setup = zone::far_from_midnight(Setup::new().proxied().steered().resolver(resolver.address));
    let setup = setup
        .port_map(&[(443, origin.port())])
        .set("allowance", "daily = \"1 MiB\"")
        .set("dns", "steer_addresses = [\"127.0.0.1\"]");
    let (gateway, plane) = start(with_plane(setup, &[resolver.address]));
    look_up(1, plane, &[LISTED, "unlisted.example"]);
    // Who stays below his limit has not reached it.
    browse(connect_from(subscriber(3), gateway.listener(1)), STEP);
    let counted = "zrgw_bytes_total{direction=\"up\",class=\"exempt\",service=\"school\"}";
    assert!(eventually(|| gateway.metric(counted) > STEP as u64), "{}", gateway.log());
    assert_eq!(gateway.metric("zrgw_allowance_reached_total"), 0);
    let idle = connect_from(subscriber(2), gateway.listener(1));
    browse(connect_from(subscriber(1), gateway.listener(1)), 2 * LIMIT);
    await_moved(seen, &gateway, &["zrgw_flows_open", "zrgw_bytes_total", "zrgw_allowance_reached_total"]);
    drop(idle);
    await_moved(seen, &gateway, &["zrgw_dns_steered_total", "zrgw_dns_answers_total"]);
    gateway.stop();
}

/// What subscribers' answers say of addresses: shared ones, those of their own, private ones, and more than there is room for.
pub(super) fn answers_of_all_kinds(seen: &mut BTreeSet<String>) {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(MEDIA, origin.octets()), ("other-listed.example", origin.octets())]);
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        resolver.add(&format!("{name}.listed.example"), [127, 0, 2, 100 + number as u8]);
    }
    for name in ["one.example", "two.test"] {
        resolver.add(name, origin.octets());
    }
    resolver.add("nowhere.listed.example", [0, 0, 0, 0]);
    let rule = format!(
        "[[service.rule]]\nhost = \"{MEDIA}\"\nreason = \"test\"\nevidence = \"seen\"\ndns_only = true\n\n[[deny]]"
    );
    for pairs_max in [1, 1_000] {
        let setup = Setup::new()
            .proxied()
            .port_map(&[(443, origin.port())])
            .set("trusted_answers", &format!("pairs_max = {pairs_max}"))
            .set("trusted_answers", "pairs_per_rule_max = 2")
            .set("trusted_answers", "shared_subscribers_min = 2")
            .set("trusted_answers", "shared_domains_min = 2");
        setup.write("list.toml", LIST.replace("[[deny]]", &rule));
        let (gateway, plane) = start(with_plane(setup, &[resolver.address]));
        look_up(1, plane, &[MEDIA, "other-listed.example"]);
        if pairs_max == 1 {
            await_moved(seen, &gateway, &["zrgw_answers_no_room_total"]);
        } else {
            look_up(1, plane, &["a.listed.example", "b.listed.example", "c.listed.example"]);
            look_up(1, plane, &["nowhere.listed.example"]);
            let destination = SocketAddr::new(origin.address.ip(), 443);
            let nameless = Hello::bare().modern();
            exchange(connect_proxied(1, gateway.listener(0), destination), &nameless);
            await_moved(
                seen,
                &gateway,
                &["zrgw_dns_only_pairs", "zrgw_dns_only_subscribers", "zrgw_answers_displaced_total"],
            );
            for number in [2, 3] {
                look_up(number, plane, &["one.example", "two.test"]);
            }
            exchange(connect_proxied(1, gateway.listener(0), destination), &Hello::named(MEDIA));
            await_moved(
                seen,
                &gateway,
                &[
                    "zrgw_answers_private_total",
                    "zrgw_shared_addresses",
                    "zrgw_exempt_shared_address_bytes_total",
                ],
            );
        }
        gateway.stop();
    }
}
