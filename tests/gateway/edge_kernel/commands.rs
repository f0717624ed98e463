//! What an operator sees and does: `gateway nft`, and what is left when it is taken back.

use std::process::Output;

use rustix::process::Signal;
use support::client::finish;
use support::edge::{LISTED, origin};
use support::eventually;

use super::{echo, echoes, edge, hello};

#[test]
fn k26_what_the_kernel_holds_is_shown_and_goes_without_a_trace() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let nft = |action: &str| -> Output {
        edge.link.at_gateway(|| edge.gateway.setup().command(&["nft", action, "--config", "gateway.toml"]))
    };
    let shown = String::from_utf8(nft("print").stdout).unwrap();
    for wanted in ["of: wire", "TCP ports 80 443", "zk_slots", "zk_up_ether-", "zk_down_ether-"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let pins = edge.pins.as_ref().unwrap();
    assert!(pins.names().iter().any(|name| name == "zk_slots"));
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    assert!(nft("remove").status.success());
    assert!(!pins.folder().exists());
    // No trace, and what is forwarded is not cut.
    echo(&mut stream, b"still there");
    let shown = String::from_utf8(nft("print").stdout).unwrap();
    assert!(shown.contains("Nothing is there"), "{shown}");
    assert!(nft("apply").status.success() && pins.folder().join("zk_slots").exists());
    assert!(nft("remove").status.success() && nft("remove").status.success(), "twice is no fault");
}

#[test]
fn a_folder_that_is_no_bpf_file_system_is_told_with_the_remedy() {
    if !support::edge::has_programs() {
        return;
    }
    let setup = support::edge::setup("kernel", "lo");
    let folder = setup.path("not-bpf");
    let setup = setup.set("edge", &format!("pin_dir = \"{}\"", folder.display()));
    setup.write_configuration();
    let output = setup.command(&["nft", "apply", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("mount -t bpf"), "{said}");
    assert!(!folder.exists(), "nothing is left");
}

#[test]
fn k22_k23_what_passes_programs_that_were_detached_is_told() {
    let Some(edge) = edge() else { return };
    let _origins = echoes(&edge);
    let mut stream = edge.connect(origin(0, 443));
    echo(&mut stream, &hello(LISTED));
    assert!(
        edge.link
            .at_gateway(|| edge.gateway.ask("/readyz"))
            .is_some_and(|(code, body)| { code == 200 && !body.contains("kernel_blind") })
    );
    edge.link.at_gateway(|| edge.gateway.setup().command(&["nft", "remove", "--config", "gateway.toml"]));
    let told = eventually(|| {
        for _ in 0..20 {
            echo(&mut stream, &[7; 60_000]);
        }
        edge.metric("zrgw_attention{reason=\"kernel_blind\"}") == 1
    });
    assert!(told, "{}", edge.gateway.log());
    assert!(edge.metric("zrgw_kernel_unseen_bytes_total") > 0);
    finish(stream);
    // Ready all the same: traffic is carried.
    let (code, body) = edge.link.at_gateway(|| edge.gateway.ask("/readyz")).unwrap();
    assert!(code == 200 && body.contains("kernel_blind"), "{body}");
}

/// Interfaces of a pattern come and go, with an Ethernet header and without.
#[test]
fn k19_f36_interfaces_of_a_pattern_are_watched_as_they_come() {
    let Some(edge) = super::with(|setup| setup.set("edge", "interfaces = [\"wire\", \"late*\"]")) else {
        return;
    };
    let pins = edge.pins.as_ref().unwrap();
    let has = |program: &str, count: usize| {
        eventually(|| pins.names().iter().filter(|name| name.starts_with(program)).count() == count)
    };
    assert!(has("zk_up_ether-", 1) && has("zk_up_bare-", 0));
    edge.link.gateway_runs("ip link add late0 type veth peer name other");
    edge.link.gateway_runs("ip tuntap add dev late1 mode tun");
    assert!(has("zk_up_ether-", 2) && has("zk_down_ether-", 2), "{:?}", pins.names());
    assert!(has("zk_up_bare-", 1) && has("zk_down_bare-", 1), "{:?}", pins.names());
    edge.link.gateway_runs("ip link del late0");
    edge.link.gateway_runs("ip link del late1");
    assert!(has("zk_up_ether-", 1) && has("zk_down_bare-", 0), "{:?}", pins.names());
    edge.gateway.signal(Signal::TERM);
}
