//! QUIC through the path: exempt by name and address to the byte, also when the client's address changes.

use std::net::SocketAddr;

use support::datagrams::Access;
use support::edge::{Edge, LISTED, foreign, origin, subscriber, telling_datagrams};
use support::quic_pages::{QuicClient, QuicOrigin, Validation};
use support::quinn_peers as quic;
use support::{Ended, PATIENCE, eventually, has};

use super::{edge, narrow, socket};

#[test]
fn q14_t23_t36_quic_is_exempt_by_name_and_address_and_to_the_byte() {
    for family in 0..2 {
        let Some(edge) = edge() else { return };
        let internet = edge
            .link
            .in_internet(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
        let names = [LISTED, "elsewhere.example"];
        let (_, at_home, _) = edge
            .link
            .in_internet(|| internet.block_on(async { quic::server_at(origin(family, 443), &names, false) }));
        let (_, abroad, _) = edge.link.in_internet(|| {
            internet.block_on(async { quic::server_at(foreign(family, 443), &names, false) })
        });
        let visit = |to: SocketAddr, name: &str, certificate| {
            edge.link.at_subscriber(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let own = SocketAddr::new(subscriber(family), 0);
                    let client = quic::client_at(own, certificate, &[], 1);
                    let connection = client.connect(to, name).unwrap().await.unwrap();
                    assert_eq!(connection.remote_address(), to);
                    quic::echo_bytes(&connection, 200_000).await;
                    connection.close(0_u32.into(), b"");
                    client.wait_idle().await;
                });
            });
        };
        visit(origin(family, 443), LISTED, &at_home);
        edge.await_flows_closed();
        let exempt = edge.link.counted();
        // CheckSni and CheckIp of MobileAtlas.
        visit(foreign(family, 443), LISTED, &abroad);
        visit(origin(family, 443), "elsewhere.example", &at_home);
        edge.await_flows_closed();
        let all = edge.link.counted();
        let usage = edge.stop_and_count();
        assert!(usage.conserved && exempt.1 > 200_000);
        assert_eq!(usage.exempt("s1"), exempt, "to the byte");
        assert_eq!(usage.total(), all);
        assert_eq!(usage.reasons("s1"), ["address_mismatch", "not_listed"]);
        drop(internet);
    }
}

#[test]
fn t16_q12_a_rebound_connection_goes_on_and_stays_exempt() {
    let Some(edge) = Edge::new() else { return };
    for family in 0..2 {
        let to = origin(family, 443);
        let origin = edge.link.in_internet(|| QuicOrigin::at(to, Validation::None));
        let (access, client) =
            edge.link.at_subscriber(|| (Access::steered(subscriber(family), to), QuicClient::new()));
        let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
        // Several times, so that the new port comes to the other worker too.
        for _ in 0..6 {
            assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000));
            edge.link.at_subscriber(|| access.rebind());
        }
        assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000));
        client.close(connection);
        assert_eq!(origin.visits(), 1, "the same connection");
    }
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").1 > 400_000);
    assert_eq!(usage.exempt("s1"), usage.of("s1"));
}

#[test]
fn t16_a_known_id_at_another_server_is_charged() {
    let Some(edge) = Edge::new() else { return };
    let (home, abroad) = (origin(0, 443), foreign(0, 443));
    let _origin = edge.link.in_internet(|| {
        telling_datagrams(abroad);
        QuicOrigin::at(home, Validation::None)
    });
    let (access, client) =
        edge.link.at_subscriber(|| (Access::steered(subscriber(0), home), QuicClient::new()));
    let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
    assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000));
    let short = [&[0x43][..], &access.server_id().unwrap(), &[0x5a; 60]].concat();
    let thief = socket(&edge, 0, 0);
    let mut answer = [0; 2_000];
    thief.send_to(&short, abroad).unwrap();
    let (length, from) = thief.recv_from(&mut answer).unwrap();
    assert!(length > short.len() && from == abroad);
    client.close(connection);
    let usage = edge.stop_and_count();
    let charged = usage.charged("s1", "not_recognised");
    assert_eq!(charged, (short.len() as u64 + 28, length as u64 + 28));
}

/// Migration is the client's own. Its simulation of a NAT that gives other ports stalls in the middle of a page without a
/// gateway too (ngtcp2 0.12.1); clients of quinn stand behind such a NAT in other tests.
#[test]
fn t16_q14_http3_of_ngtcp2_arrives_whole_also_when_the_client_migrates() {
    if !has("gtlsserver") || !has("gtlsclient") {
        println!("SKIPPED: no gtlsserver or no gtlsclient");
        return;
    }
    let Some(edge) = edge() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let page: Vec<u8> = (0..10_000_000_u32).map(|number| (number % 251).to_le_bytes()[0]).collect();
    std::fs::create_dir_all(path("htdocs")).unwrap();
    std::fs::write(path("htdocs/page"), &page).unwrap();
    let certified = rcgen::generate_simple_self_signed([LISTED.to_owned()]).unwrap();
    std::fs::write(path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("cert.pem"), certified.cert.pem()).unwrap();
    for family in 0..2 {
        let to = origin(family, 443);
        let log = std::fs::File::create(path("server.log")).unwrap();
        let _server = edge.link.in_internet(|| {
            let mut command = std::process::Command::new("gtlsserver");
            command.arg("-q").arg("-d").arg(path("htdocs")).arg(to.ip().to_string()).arg("443");
            command.arg(path("key.pem")).arg(path("cert.pem"));
            Ended(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
        });
        for (number, options) in [vec![], vec!["--change-local-addr=20ms"]].iter().enumerate() {
            let got = path(&format!("got{family}{number}"));
            std::fs::create_dir_all(&got).unwrap();
            let arrived = eventually(|| {
                let output = edge.link.at_subscriber(|| {
                    let mut command = std::process::Command::new("timeout");
                    command.args(["25", "gtlsclient", "-q", "--exit-on-all-streams-close"]).args(options);
                    command.arg(format!("--download={}", got.display())).arg(to.ip().to_string()).arg("443");
                    command.arg(format!("https://{LISTED}/page")).output().unwrap()
                });
                // The server may not listen yet.
                output.status.success() && std::fs::read(got.join("page")).is_ok_and(|read| read == page)
            });
            assert!(arrived, "{options:?}");
        }
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert!(counted.1 > 40_000_000);
    assert_eq!(usage.total(), counted, "IP bytes, to the byte");
    // Given an address it asks for localhost. Who migrates takes another connection id (RFC 9000 §9.5): what is behind it
    // nobody can tell, and it is charged.
    assert_eq!(usage.reasons("s1"), ["not_listed", "not_recognised"]);
}

#[test]
fn q14_bulk_both_ways_at_once() {
    let Some(edge) = Edge::new() else { return };
    for family in 0..2 {
        let to = origin(family, 443);
        let _origin = edge.link.in_internet(|| QuicOrigin::at(to, Validation::Retry));
        let (access, client) =
            edge.link.at_subscriber(|| (Access::steered(subscriber(family), to), QuicClient::new()));
        client.visit(access.address, LISTED, 3_000_000, 5_000_000);
    }
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 6_000_000 && usage.exempt("s1").1 > 10_000_000);
    assert_eq!(usage.exempt("s1"), usage.of("s1"));
}

#[test]
fn t43_quic_finds_the_longest_that_passes() {
    let Some(edge) = edge() else { return };
    narrow(&edge);
    for family in 0..2 {
        let to = origin(family, 443);
        let _origin = edge.link.in_internet(|| QuicOrigin::at(to, Validation::None));
        let (access, client) =
            edge.link.at_subscriber(|| (Access::steered(subscriber(family), to), QuicClient::new()));
        client.visit(access.address, LISTED, 300_000, 300_000);
    }
    let usage = edge.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.of("s1"));
}
