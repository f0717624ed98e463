//! The rules in the kernel: what they take and what they leave, the fallback, their room, and that no trace of them is left.

use std::io::Write;

use support::client::finish;
use support::edge::{Edge, LISTED, foreign, line, origin};
use support::eventually;
use support::hellos::Hello;
use support::link::Link;

use super::{telling, visit};

#[test]
fn a_server_on_the_listener_s_own_port_is_visited_past_the_gateway() {
    let Some(edge) = Edge::new() else { return };
    let _origins = edge.link.in_internet(|| [telling(origin(0, 9_443)), telling(origin(1, 9_443))]);
    for family in 0..2 {
        visit(&edge, origin(family, 9_443), LISTED);
    }
    assert_eq!(edge.metric("zrgw_flows_total{protocol=\"tls\",class=\"exempt\",reason=\"\"}"), 0);
}

#[test]
fn redirect_is_the_fallback_and_the_original_destination_is_still_known() {
    let Some(edge) = Edge::with("redirect", |setup| setup) else { return };
    let _origins = edge
        .link
        .in_internet(|| [telling(origin(0, 443)), telling(origin(1, 443)), telling(foreign(0, 443))]);
    for (to, from) in
        [(origin(0, 443), "11.77.0.1:"), (origin(1, 443), "[2a0e:77::1]:"), (foreign(0, 443), "11.77.0.1:")]
    {
        let mut stream = edge.connect(to);
        assert!(line(&mut stream).starts_with(from), "the gateway's own address");
        stream.write_all(&[Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat()).unwrap();
        finish(stream);
    }
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0);
    assert_eq!(usage.reasons("s1"), ["address_mismatch"]);
}

#[test]
fn nft_remove_leaves_no_trace_and_apply_twice_is_apply_once() {
    let Some(edge) = Edge::new() else { return };
    let state = |link: &Link| {
        ["nft list ruleset", "ip rule", "ip -6 rule", "ip route show table all", "ip -6 route show table all"]
            .map(|command| link.gateway_runs(command))
    };
    // What the kernel itself adds when a link comes up is of no interest, nor is the time that is left.
    let strip = |text: String| -> Vec<String> {
        let comes_and_goes = ["expires", "elements", "fe80::", "ff00::", "multicast"];
        let kept = text.lines().filter(|line| !comes_and_goes.iter().any(|word| line.contains(word)));
        kept.map(str::to_owned).collect()
    };
    let once = state(&edge.link).map(strip);
    let run = |word: &str| {
        let output =
            edge.link.at_gateway(|| edge.gateway.setup().command(&["nft", word, "--config", "gateway.toml"]));
        assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run("apply");
    assert_eq!(state(&edge.link).map(strip)[1..], once[1..]);
    assert!(run("print").contains("table inet zrgw {"));
    run("remove");
    run("remove");
    let other = Link::with_internet().unwrap();
    let wanted = state(&other);
    let left = state(&edge.link);
    assert!(!left[0].contains("zrgw") && left[1..3] == wanted[1..3], "{left:?}");
    assert!(!left[3].contains("31233") && !left[4].contains("31233"), "{left:?}");
    // The gateway says so, and goes on.
    assert!(eventually(|| edge.metric("zrgw_edge{state=\"no_rules\"}") == 1));
}

#[test]
fn s_with_the_set_of_opening_connections_full_further_ones_are_taken_all_the_same() {
    /// As many as the rules have room for.
    const ROOM: u32 = 131_072;
    let Some(edge) = Edge::new() else { return };
    let _origins = edge.link.in_internet(|| [telling(origin(0, 443)), telling(origin(1, 443))]);
    let element = |number: u32| {
        let address = std::net::Ipv4Addr::from(0x0c00_0000 + number / 1_000);
        format!("{address} . {} . 13.0.0.1 . 443 timeout 1h", 1_024 + number % 1_000)
    };
    let add = |numbers: std::ops::Range<u32>| {
        let elements = numbers.map(element).collect::<Vec<_>>().join(", ");
        format!("add element inet zrgw opening4 {{ {elements} }}\n")
    };
    let text: String = (0..ROOM / 4_096).map(|part| add(part * 4_096..(part + 1) * 4_096)).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    edge.link.gateway_runs(&format!("nft -f {}", file.path().display()));
    std::fs::write(file.path(), add(ROOM..ROOM + 1)).unwrap();
    let over = edge
        .link
        .at_gateway(|| std::process::Command::new("nft").arg("-f").arg(file.path()).output().unwrap());
    assert!(!over.status.success(), "one over the limit");
    for family in 0..2 {
        visit(&edge, origin(family, 443), LISTED);
    }
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0 && usage.reasons("s1").is_empty(), "{usage:?}");
}
