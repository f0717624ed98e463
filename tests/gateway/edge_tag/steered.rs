//! Marks of flows that are led to the gateway: those of subscribers, and not those of a balancer.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use support::Setup;
use support::client::finish;
use support::dns::Resolver;
use support::edge::LISTED;
use support::link::{GATEWAY, Link, SUBSCRIBER};
use support::origin::Origin;

use super::{At, echo, group, hello, round_trips};

#[test]
fn t38_steered_flows_are_marked_and_those_of_a_balancer_are_not() {
    let Some(link) = Link::new() else { return };
    let (gateway, _resolver, origin) = link.at_gateway(|| {
        let origin = Origin::echo();
        let resolver = Resolver::new(&[(LISTED, origin.octets())]);
        let setup = Setup::new().resolver(resolver.address).port_map(&[(443, origin.port())]).raw(&group(""));
        let setup = GATEWAY.iter().fold(setup, |setup, address| {
            let address = SocketAddr::new(address.parse().unwrap(), 8_443);
            setup.listener(&format!("mode = \"steered\"\naddress = \"{address}\"\n"))
        });
        let setup = setup.listener(&format!(
            "mode = \"proxy_protocol\"\naddress = \"{}:9443\"\npeers = [\"{}/32\"]\n",
            GATEWAY[0], SUBSCRIBER[0]
        ));
        let table = format!(
            "prefix,subscriber_type,subscriber_id\n{}/32,account,s1\nfd77::/64,account,s1\n",
            SUBSCRIBER[0]
        );
        setup.write("subscribers.csv", table);
        (setup.start(), resolver, origin)
    });
    [At::Subscriber, At::Egress].iter().for_each(|at| at.count(&link));
    let connect = |address: SocketAddr| {
        let stream = link.at_subscriber(|| TcpStream::connect(address).unwrap());
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        stream
    };
    for address in GATEWAY {
        let mut stream = connect(SocketAddr::new(address.parse().unwrap(), 8_443));
        echo(&mut stream, &hello(LISTED));
        let seen = At::Subscriber.during(&link, || round_trips(&mut stream));
        assert!(seen.every > 4 && seen.tagged == seen.every, "{seen:?}");
        let seen = At::Egress.during(&link, || round_trips(&mut stream));
        assert!(seen.every > 4 && seen.marked == seen.every, "{seen:?}");
        finish(stream);
    }
    // As exempt as those: the resolver vouches for name and address.
    let mut stream = connect(SocketAddr::new(GATEWAY[0].parse().unwrap(), 9_443));
    let destination = SocketAddr::new(origin.address.ip(), 443);
    let source = SocketAddr::new(SUBSCRIBER[0].parse().unwrap(), 40_000);
    stream.write_all(&support::client::proxy_v2(source, destination)).unwrap();
    echo(&mut stream, &hello(LISTED));
    let exempt = "zrgw_flows_total{protocol=\"tls\",class=\"exempt\",reason=\"\"}";
    link.at_gateway(|| gateway.await_metric(exempt, 3));
    for at in [At::Subscriber, At::Egress] {
        let seen = at.during(&link, || round_trips(&mut stream));
        assert!(seen.every > 4 && (seen.tagged, seen.marked) == (0, 0), "{at:?} {seen:?}");
    }
    finish(stream);
    assert_eq!(link.at_gateway(|| gateway.metric("zrgw_mark_errors_total")), 0);
    let usage = link.at_gateway(|| gateway.stop_and_count());
    assert!(usage.rows.iter().all(|row| row["class"] != "exempt" || row["disposition"] == "tagged"));
}
