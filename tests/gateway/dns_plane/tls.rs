//! DNS over TLS, on the side of the subscribers and on that of the resolver.

use support::ask::*;
use support::client::*;
use support::unbound::{LISTED, Unbound};
use support::{PATIENCE, Setup, has};

#[test]
fn dns_over_tls_for_subscribers_as_kdig_speaks_it() {
    if !has("kdig") || !has("unbound") {
        return;
    }
    let unbound = Unbound::start("");
    let certified = rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).unwrap();
    let setup = Setup::new().proxied().set("dns", "listen = [\"127.0.0.1:0\"]");
    setup.write("dns.crt", certified.cert.pem());
    setup.write("dns.key", certified.signing_key.serialize_pem());
    let gateway = setup
        .set("dns", &format!("upstream = [\"{}\"]", unbound.address))
        .set("dns", "tls_listen = [\"127.0.0.1:0\"]")
        .set("dns", "tls_certificate = \"dns.crt\"")
        .set("dns", "tls_key = \"dns.key\"")
        .set("dns", "clients = [\"subscribers\", \"127.0.0.0/8\"]")
        .start();
    let address = plane(&gateway)[1];
    let said = kdig(address, &["+tls", LISTED, "A"]);
    assert!(said.contains("127.0.2.1"), "{said}\n{}", gateway.log());
    assert!(gateway.metric("zrgw_trusted_answers") >= 1);
    gateway.stop();
}

/// The way to the resolver is TLS too, and a server that cannot show the name it is asked under is not believed.
#[test]
fn dns_over_tls_to_an_unbound_that_proves_its_name() {
    if !has("unbound") {
        return;
    }
    let certified = rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("crt"), certified.cert.pem()).unwrap();
    std::fs::write(path("key"), certified.signing_key.serialize_pem()).unwrap();
    let port = support::free_port();
    let _unbound = Unbound::start(&format!(
        "server:\n interface: 127.0.0.1@{port}\n tls-port: {port}\n tls-service-key: \"{}\"\n tls-service-pem: \"{}\"\n",
        path("key"),
        path("crt")
    ));
    for (name, code) in [("dns.example", 0), ("other.example", 2)] {
        let setup = Setup::new()
            .proxied()
            .set("dns", "listen = [\"127.0.0.1:0\"]")
            .set("dns", &format!("upstream = [\"tls://127.0.0.1:{port}#{name}\"]"))
            .set("dns", &format!("upstream_roots = \"{}\"", path("crt")))
            .set("dns", "try_timeout = \"1 s\"")
            .set("dns", "total_timeout = \"2 s\"");
        let gateway = setup.start();
        let answer = ask(subscriber(1), plane(&gateway)[0], &query(8, LISTED, A), PATIENCE).unwrap();
        assert_eq!(rcode(&answer), code, "{name}\n{}", gateway.log());
        assert_eq!(gateway.metric("zrgw_trusted_answers"), u64::from(code == 0));
        gateway.stop();
    }
}
