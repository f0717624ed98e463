//! How the gateway refuses to start: a port in use, a bad configuration, too few descriptors.

use std::net::TcpListener;

use support::{Setup, has};

#[test]
fn a_port_in_use_ends_with_74_place_and_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listener = format!("mode = \"proxy_protocol\"\naddress = \"{address}\"\n");
    let (code, said) = Setup::new().listener(&listener).run_to_end();
    assert_eq!(code, 74, "{said}");
    for wanted in ["gateway.toml", "listener.address", &address.to_string(), "ss -ltnp"] {
        assert!(said.contains(wanted), "{wanted} is missing in {said}");
    }
    let (code, said) = Setup::new().proxied().set("admin", &format!("address = \"{address}\"")).run_to_end();
    assert_eq!(code, 74, "{said}");
    assert!(said.contains("admin.address") && said.contains("ss -ltnp"), "{said}");
    // Of another running gateway: SO_REUSEPORT must not share it silently.
    let port = support::free_port();
    let listener = format!("mode = \"proxy_protocol\"\naddress = \"127.0.0.1:{port}\"\n");
    let running = Setup::new().listener(&listener).start();
    let (code, said) = Setup::new().listener(&listener).run_to_end();
    assert_eq!(code, 74, "{said}");
    running.stop();
}

#[test]
fn a_bad_configuration_ends_with_78_and_every_problem_at_its_place() {
    let setup = Setup::new()
        .listener("mode = \"transparant\"\naddress = \"127.0.0.1:0\"\n")
        .set("limits", "idle_timeout = 5")
        .set("export", "periode = \"15 min\"")
        .set("node", "id = \"Not An Id\"");
    let (code, said) = setup.run_to_end();
    assert_eq!(code, 78, "{said}");
    let text = std::fs::read_to_string(setup.path("gateway.toml")).unwrap();
    for (line_with, wanted) in [
        ("mode =", "transparant"),
        ("idle_timeout", "idle_timeout"),
        ("periode", "periode"),
        ("Not An Id", "id"),
    ] {
        let line = 1 + text.lines().position(|line| line.contains(line_with)).unwrap();
        let place = format!("gateway.toml:{line}:");
        assert!(
            said.lines().any(|told| told.contains(&place) && told.contains(wanted)),
            "{place} {wanted} is missing in\n{said}"
        );
    }
    let output = setup.command(&["check", "--config", "gateway.toml"]);
    assert_eq!(output.status.code(), Some(78));
    let output = setup.command(&["run", "--config", "absent.toml"]);
    assert_eq!(output.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent.toml"));
    let output = setup.command(&["run"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn t42_too_few_descriptors_end_with_78_place_and_remedy() {
    if !has("prlimit") {
        return;
    }
    let (code, said) = Setup::new().proxied().started_by(&["prlimit", "--nofile=64:64"]).run_to_end();
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("gateway.toml:") && said.contains("RLIMIT_NOFILE"), "{said}");
    let setup = Setup::new().proxied().set("limits", "flows_max = 21").set("limits", "splice_pipes_max = 0");
    let setup = setup.started_by(&["prlimit", "--nofile=296:296"]);
    let (code, said) = setup.run_to_end();
    assert_eq!(code, 78, "{said}");
    let text = std::fs::read_to_string(setup.path("gateway.toml")).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("flows_max")).unwrap();
    assert!(said.contains(&format!("gateway.toml:{line}:")) && said.contains("at most 20"), "{said}");
}
