//! Allowances as they are stated in the configuration: a zone that is none, and a service that the list does not have.

use support::Setup;
use support::zone;

#[test]
fn a_zone_that_is_none_is_refused_with_its_place() {
    let setup = Setup::new().proxied().set("allowance", "zone = \"Mars/Olympus\"");
    setup.write_configuration();
    let output = setup.command(&["check", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("gateway.toml:5:8: allowance.zone: found \"Mars/Olympus\""), "{said}");
    let (code, said) = setup.run_to_end();
    assert_eq!(code, 78, "{said}");
}

#[test]
fn a_group_whose_service_the_list_does_not_have_is_noted() {
    let setup = zone::far_from_midnight(Setup::new().proxied());
    let setup = setup
        .raw("[[allowance.group]]\nid = \"g\"\nservices = [\"school\", \"scholl\"]\ndaily = \"1 MiB\"\n");
    setup.write_configuration();
    let output = setup.command(&["check", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("note: allowance.group[0].services[1]: the list has no service \"scholl\""),
        "{said}"
    );
    assert!(!said.contains("services[0]"), "{said}");
}
