//! `[[sink]]`: further ways out, each with folders and a name of its own.

use config::sink::{Begin, Form, HeaderLayout};
use std::path::Path;

use super::{MINIMAL, good, problem_of, problems};

/// A sink of charging records with further lines.
fn tdf(id: &str, more: &str) -> String {
    format!("[[sink]]\nid = \"{id}\"\nkind = \"tdf\"\ndir = \"{id}\"\naddress = \"192.0.2.1\"\n{more}")
}

#[test]
fn a_sink_stands_at_the_defaults_of_its_kind() {
    let config = good(&format!("{}[[sink]]\nid = \"b\"\nkind = \"file\"\ndir = \"more/\"\n", tdf("a", "")));
    let [first, second] = &config.sinks[..] else { panic!("{:?}", config.sinks) };
    assert_eq!((first.id.as_str(), first.from), ("a", Begin::Next));
    assert_eq!(
        (first.dir.as_path(), first.staging_dir.as_path()),
        (Path::new("/base/a"), Path::new("/base/a.staging"))
    );
    let Form::Tdf(made) = &first.form else { panic!("{first:?}") };
    assert_eq!(
        (made.header, made.release, made.version, made.zone.as_str()),
        (HeaderLayout::Octets54, 16, 11, "UTC")
    );
    assert_eq!((made.node_name.as_str(), made.extension_oid.as_str()), ("edge-1", "1.3.6.1.4.1.32473.1"));
    assert_eq!((made.exempt, made.charged, made.msisdn_nature, &made.sponsor), (true, false, true, &None));
    assert_eq!((&second.form, second.staging_dir.as_path()), (&Form::Usage, Path::new("/base/more.staging")));
    assert_eq!(good(&tdf("a", "from = \"oldest\"\n")).sinks[0].from, Begin::Oldest);
}

#[test]
fn sinks_stand_apart_and_are_at_most_sixteen() {
    let found =
        problem_of(&format!("{}{}", tdf("a", ""), tdf("a", "").replace("dir = \"a\"", "dir = \"b\"")));
    assert!(found.contains("sink[1].id: found \"a\", which sink[0].id already has"), "{found}");
    let many: String = (0..17).map(|number| tdf(&format!("s{number}"), "")).collect();
    let found = problem_of(&many);
    assert!(found.contains("sink: found 17 sinks; wanted at most 16"), "{found}");
    let sixteen: String = (0..16).map(|number| tdf(&format!("s{number}"), "")).collect();
    assert_eq!(good(&sixteen).sinks.len(), 16);
    for (dir, staging, key) in [
        ("state", "s", "dir"),
        ("usage", "s", "dir"),
        ("./usage.staging/", "s", "dir"),
        ("b", "usage", "staging_dir"),
        ("b", "b", "staging_dir"),
        ("a", "s", "dir"),
        ("b", "a.staging", "staging_dir"),
    ] {
        let second =
            format!("[[sink]]\nid = \"b\"\nkind = \"file\"\ndir = \"{dir}\"\nstaging_dir = \"{staging}\"\n");
        let found = problem_of(&format!("{}{second}", tdf("a", "")));
        assert!(found.contains(&format!("sink[1].{key}: found ")), "{dir} {staging}: {found}");
        assert!(found.contains("a folder of its own"), "{found}");
    }
}

#[test]
fn kinds_to_come_and_keys_of_another_kind_are_told() {
    for kind in ["sftp", "radius", "nats"] {
        let found = problem_of(&format!("[[sink]]\nid = \"a\"\nkind = \"{kind}\"\ndir = \"a\"\n"));
        let wanted = format!(
            "sink[0].kind: found \"{kind}\", which this version does not have; wanted \"file\" or \"tdf\""
        );
        assert!(found.contains(&wanted), "{found}");
    }
    let file = "[[sink]]\nid = \"a\"\nkind = \"file\"\ndir = \"a\"\n";
    let found = problem_of(&format!("{file}release = 16\n"));
    assert!(found.contains("sink[0].release: found a key of kind \"tdf\""), "{found}");
    let found = problem_of("[[sink]]\nid = \"a\"\nkind = \"tdf\"\ndir = \"a\"\n");
    assert!(found.contains("sink[0].address: found nothing; wanted an address without port"), "{found}");
}

#[test]
fn a_name_that_does_not_go_into_a_node_id_is_refused() {
    let found = problem_of(&tdf("a", "node_name = \"abcdefghijklmno\"\n"));
    assert!(
        found.contains("sink[0].node_name: found \"abcdefghijklmno\"")
            && found.contains("NodeID of 20 octets"),
        "{found}"
    );
    // The default is the node's own name, which may be longer.
    let long = MINIMAL.replace("\"edge-1\"", "\"zero-rating-edge-1\"");
    let found = problems(&format!("{long}\n{}", tdf("a", "")));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains(
            "sink[0].node_name: found nothing, and node.id \"zero-rating-edge-1\" of 18 characters"
        ),
        "{found:#?}"
    );
    assert!(problems(&format!("{long}\n{}", tdf("a", "node_name = \"edge-1\"\n"))).is_empty());
}

#[test]
fn numbers_of_services_are_told_with_their_service() {
    for (table, wanted) in [
        ("{ a = 4294967296 }", "sink[0].service_identifiers.a: found 4294967296"),
        ("{ a = \"7\" }", "sink[0].service_identifiers.a: found \"7\""),
        ("{ A = 7 }", "sink[0].service_identifiers: found \"A\"; wanted a service id on the left"),
    ] {
        let found = problem_of(&tdf("a", &format!("service_identifiers = {table}\n")));
        assert!(found.contains(wanted), "{found}");
    }
}
