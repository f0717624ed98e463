//! A cap at the operator's edge: the mark ends with what may be exempt, in IP bytes as the link counts them (trap T31).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write as _;
use std::net::TcpStream;

use support::client::{finish, read_exactly};
use support::edge::{Edge, LISTED, origin};
use support::hellos::Hello;
use support::origin::{self as origins, Origin};
use support::zone;

/// The code point of the tests' rating group.
const DSCP: u32 = 46;
/// What may be exempt, in bytes of both directions.
const LIMIT: u64 = 1 << 20;
/// Bytes of one exchange each way.
const STEP: usize = 8_192;

/// Has bytes towards the subscriber counted at its end, all and those with the mark.
fn count(edge: &Edge) {
    let rules = format!(
        "table inet at_subscriber {{
            counter every {{}}
            counter tagged {{}}
            chain count {{
                type filter hook prerouting priority -300;
                iifname wire meta l4proto tcp counter name every
                iifname wire meta l4proto tcp ip dscp {DSCP} counter name tagged
            }}
        }}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    edge.link.subscriber_runs(&format!("nft -f {}", file.path().display()));
}

/// Bytes counted so far.
fn counted(edge: &Edge, name: &str) -> u64 {
    let text = edge.link.subscriber_runs(&format!("nft -j list counter inet at_subscriber {name}"));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let counters = json["nftables"].as_array().unwrap().iter();
    counters.filter_map(|one| one["counter"]["bytes"].as_u64()).next().unwrap()
}

/// Sends bytes and waits for their echo.
fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert_eq!(read_exactly(stream, bytes.len()), bytes);
}

#[test]
fn t31_t38_the_mark_ends_with_the_allowance_and_the_count_is_the_link_s() {
    let edge = Edge::with("tproxy", |setup| {
        let setup = zone::far_from_midnight(setup).set("allowance", "daily = \"1 MiB\"");
        setup.raw(&format!(
            "[[rating_group]]\nid = 7\nservices = [\"*\"]\ndisposition = \"tagged\"\ndscp = {DSCP}\n"
        ))
    });
    let Some(edge) = edge else { return };
    count(&edge);
    let _origin = edge.link.in_internet(|| Origin::at(origin(0, 443), origins::echo));
    let mut client = edge.connect(origin(0, 443));
    echo(&mut client, &[Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat());
    let mut steps = 0;
    // The mark is there until half of it is spent at least: each step costs a little more than twice its length.
    while counted(&edge, "every") * 2 < LIMIT / 2 {
        echo(&mut client, &[7; STEP]);
        steps += 1;
    }
    let (every, tagged) = (counted(&edge, "every"), counted(&edge, "tagged"));
    // The handshake came before the verdict.
    assert!(tagged + 4_000 > every, "{tagged} of {every}");
    while steps * (STEP as u64) < LIMIT {
        echo(&mut client, &[7; STEP]);
        steps += 1;
    }
    // Nothing bears the mark any more, and no more did than there was, but for two buffers.
    let before = counted(&edge, "tagged");
    for _ in 0..10 {
        echo(&mut client, &[7; STEP]);
    }
    assert_eq!(counted(&edge, "tagged"), before);
    assert_eq!(finish(client), b"");
    let (every, tagged) = (counted(&edge, "every"), counted(&edge, "tagged"));
    let usage = edge.stop_and_count();
    let (exempt, charged) = (usage.exempt("s1"), usage.charged("s1", "cap_reached"));
    assert!(exempt.0 + exempt.1 <= LIMIT, "{exempt:?}");
    assert!(exempt.0 + exempt.1 + 4 * STEP as u64 >= LIMIT, "{exempt:?}");
    // Selective acknowledgements are not counted, and a busy machine makes some.
    assert!((exempt.1 + charged.1).abs_diff(every) * 200 < every, "{exempt:?} {charged:?} {every}");
    // The buffer that reached the limit and the one on its way, which counts when it is acknowledged, in a few segments.
    let buffers = 2 * STEP as u64 * 9 / 8;
    assert!(tagged <= exempt.1 + buffers, "{tagged} bytes bore the mark, {} were exempt", exempt.1);
    assert_eq!(usage.reasons("s1"), ["cap_reached"]);
}
