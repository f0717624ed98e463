//! Entries that contradict one another: rating groups, folders, groups of allowances.

use config::{Config, Disposition, Services};
use std::path::Path;

use super::{MINIMAL, good, problem_of, problems};

#[test]
fn b31_two_dispositions_for_one_rating_group_are_refused() {
    let found = problem_of(
        r#"
[[rating_group]]
id = 7
services = ["bilimland"]
disposition = "tagged"
[[rating_group]]
id = 7
services = ["*"]
disposition = "reported"
"#,
    );
    assert!(found.contains("rating_group[1].disposition: found \"reported\" for rating group 7; wanted \"tagged\" as rating_group[0].disposition has it"), "{found}");
    let config = good(
        "[[rating_group]]\nid = 7\nservices = [\"a\"]\ndisposition = \"tagged\"\n[[rating_group]]\nid = 7\nservices = [\"*\"]\ndisposition = \"tagged\"",
    );
    assert_eq!(config.rating_groups.len(), 2, "one id with one disposition may stand twice");
}

#[test]
fn rating_groups_overlap_nowhere() {
    let group = |id: u32, services: &str| {
        format!("[[rating_group]]\nid = {id}\nservices = {services}\ndisposition = \"tagged\"\n")
    };
    let found =
        problem_of(&format!("{}{}{}", group(1, "[\"a\"]"), group(2, "[\"a\", \"b\"]"), group(3, "[\"*\"]")));
    assert!(
        found.contains(
            "rating_group[1].services[0]: found \"a\", which rating_group[0].services[0] already has"
        ),
        "{found}"
    );
    let found = problem_of(&format!("{}{}", group(1, "[\"*\"]"), group(2, "[\"*\"]")));
    assert!(found.contains("found \"*\", which rating_group[0].services[0] already has"), "{found}");
    let found = problem_of(&group(1, "[\"a\"]"));
    assert!(found.contains("wanted one group with services = [\"*\"]"), "{found}");
    let found = problem_of(&group(1, "[\"*\", \"a\"]"));
    assert!(found.contains("\"*\" beside service ids"), "{found}");
    let found = problem_of(&format!("{}{}", group(1, "[]"), group(2, "[\"*\"]")));
    assert!(found.contains("found no service"), "{found}");
    let config = good("");
    assert_eq!(config.rating_groups.len(), 1);
    assert_eq!((config.rating_groups[0].id, config.rating_groups[0].disposition), (1, Disposition::Observed));
    assert_eq!(config.rating_groups[0].services, Services::Others);
    let config = good(&format!("{}{}", group(9, "[\"a\"]"), group(2, "[\"*\"]")));
    assert_eq!(config::rating_group::of(&config.rating_groups, "a").unwrap().id, 9);
    assert_eq!(config::rating_group::of(&config.rating_groups, "z").unwrap().id, 2);
}

#[test]
fn state_pickup_and_staging_are_three_folders() {
    for (dir, staging, key) in [
        ("state", "s", "export.dir"),
        ("./a/../state/", "s", "export.dir"),
        ("/base/state", "s", "export.dir"),
        ("usage", "state", "export.staging_dir"),
        ("usage", "usage/", "export.staging_dir"),
    ] {
        let text =
            MINIMAL.replace("dir = \"usage\"", &format!("dir = \"{dir}\"\nstaging_dir = \"{staging}\""));
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{dir} {staging}: {found:#?}");
        assert!(found[0].contains(&format!(": {key}: found ")), "{found:#?}");
    }
    let text = MINIMAL.replace("state_dir = \"state\"", "state_dir = \"usage.staging\"");
    assert!(problems(&text)[0].contains("export.staging_dir"), "the default staging folder is compared too");
}

/// The problems of a configuration with this allowance.
fn allowance_problems(allowance: &str) -> String {
    match Config::parse(&format!("{MINIMAL}\n{allowance}"), Path::new("/")) {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
    }
}

#[test]
fn t31_an_allowance_without_its_zone_or_groups_that_overlap_are_refused() {
    assert_eq!(allowance_problems("[allowance]\nzone = \"UTC\"\n"), "");
    let found = allowance_problems("[allowance]\ndaily = \"1 GiB\"\n");
    assert!(
        found.contains("allowance.zone: found nothing; wanted a time zone of the IANA database"),
        "{found}"
    );
    let group = |id: &str, services: &str, amount: &str| {
        format!("[[allowance.group]]\nid = \"{id}\"\nservices = {services}\n{amount}\n")
    };
    let with =
        |groups: &[String]| allowance_problems(&format!("[allowance]\nzone = \"UTC\"\n{}", groups.concat()));
    let daily = "daily = \"1 MiB\"";
    assert_eq!(with(&[group("a", "[\"x\"]", daily), group("b", "[\"y\", \"z\"]", daily)]), "");
    for (groups, wanted) in [
        (
            [group("a", "[\"x\"]", daily), group("a", "[\"y\"]", daily)],
            "allowance.group[1].id: found \"a\", which allowance.group[0].id already has",
        ),
        (
            [group("a", "[\"x\"]", daily), group("b", "[\"y\", \"x\"]", daily)],
            "allowance.group[1].services[1]: found \"x\", which allowance.group[0].services[0] already has",
        ),
        (
            [group("a", "[\"x\"]", ""), group("b", "[\"y\"]", daily)],
            "allowance.group[0].daily: found neither daily nor monthly; wanted at least one of them",
        ),
        (
            [group("a", "[]", daily), group("b", "[\"y\"]", daily)],
            "allowance.group[0].services: found no service",
        ),
        (
            [group("a", "[\"*\"]", daily), group("B", "[\"y\"]", daily)],
            "allowance.group[0].services[0]: found \"*\"; wanted a service id",
        ),
        (
            [group("a", "[\"x\"]", daily), group("b", "[\"y\"]", "daily = \"2 B\"\nmonthly = \"1 B\"")],
            "allowance.group[1].daily: found \"2 B\"; wanted at most allowance.group[1].monthly (\"1 B\")",
        ),
    ] {
        let found = with(&groups);
        assert!(found.contains(wanted), "{found}");
    }
    let many: Vec<_> =
        (0..=1_000).map(|at| group(&format!("g{at}"), &format!("[\"s{at}\"]"), daily)).collect();
    assert_eq!(with(&many[..1_000]), "");
    assert!(with(&many).contains("allowance.group: found 1001 groups; wanted at most 1000"));
}

#[test]
fn radius_clients_are_there_and_stand_apart() {
    let client = |name: &str, prefix: &str| {
        format!("[[radius.client]]\nname = \"{name}\"\nprefix = \"{prefix}\"\nsecret_file = \"s\"\n")
    };
    let found = problem_of("[radius]\n");
    assert!(found.contains("radius.client: found no client"), "{found}");
    let found = problem_of(&format!("{}{}", client("a", "10.0.0.0/8"), client("a", "10.1.0.0/16")));
    assert!(
        found.contains("radius.client[1].name: found \"a\", which radius.client[0].name already has"),
        "{found}"
    );
    let found = problem_of(&format!("{}{}", client("a", "10.0.0.0/8"), client("b", "10.0.0.0/8")));
    assert!(found.contains("radius.client[1].prefix: found \"10.0.0.0/8\""), "{found}");
    let radius = good(&client("a", "10.0.0.0/8")).radius.unwrap();
    assert_eq!(radius.listen, [config::radius::LISTEN_DEFAULT]);
    assert_eq!(radius.clients[0].secret_file, Path::new("/base/s"));
    assert_eq!(radius.clients[0].interim.unwrap().as_secs(), 600);
    let many: String = (0..1_025)
        .map(|number| client(&format!("n{number}"), &format!("10.{}.{}.0/24", number / 256, number % 256)))
        .collect();
    let found = problem_of(&many);
    assert!(found.contains("radius.client: found 1025 clients; wanted at most 1024"), "{found}");
}
