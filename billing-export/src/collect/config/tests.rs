//! What the collector's configuration takes and refuses.

use super::*;

/// The example of the manual.
const EXAMPLE: &str = include_str!("../../../docs/collect.toml");

/// The message for the example with one piece replaced.
fn refused(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "{from}");
    Config::parse(&EXAMPLE.replace(from, to), Path::new("/etc/zrgw")).unwrap_err().to_string()
}

#[test]
fn the_example_is_read_and_paths_stand_beside_it() {
    let config = Config::parse(EXAMPLE, Path::new("/etc/zrgw")).unwrap();
    assert_eq!(config.ledger.schema, "zrgw");
    assert_eq!(config.ledger.zone_name, "Asia/Almaty");
    assert_eq!(config.ledger.retention_days, 400);
    assert_eq!(config.ledger.password_file.as_deref(), Some(Path::new("/etc/zrgw/ledger.password")));
    let source = Source { dir: "/etc/zrgw/usage".into(), done: Done::Keep, poll: Duration::from_secs(5) };
    assert_eq!(config.sources, [source]);
    assert_eq!(config.watermark_dir.as_deref(), Some(Path::new("/etc/zrgw/watermarks")));
    assert_eq!((config.lease, config.admin), (LEASE_DEFAULT, Some("127.0.0.1:9465".parse().unwrap())));
}

#[test]
fn a_folder_of_a_socket_is_a_host() {
    for url in ["host=/run/postgresql user=zrgw dbname=zrgw", "postgresql://zrgw@/zrgw?host=/run/postgresql"]
    {
        let text = EXAMPLE.replace("postgresql://zrgw@127.0.0.1:5432/zrgw", url);
        let config = Config::parse(&text, Path::new("/")).unwrap();
        assert_eq!(
            config.ledger.connection.get_hosts(),
            [postgres::config::Host::Unix("/run/postgresql".into())]
        );
    }
}

#[test]
fn mistakes_are_told_with_their_line() {
    let line = |word: &str| {
        let found = EXAMPLE.lines().position(|line| line.starts_with(word));
        format!("{}: ", found.unwrap() + 1)
    };
    for (from, to, at, words) in [
        ("kind = \"files\"", "kind = \"nats\"", "kind", "this version of billing-export reads files"),
        ("kind = \"files\"", "kind = \"ftp\"", "kind", "wanted \"files\""),
        ("kind = \"files\"", "kind = \"files\"\nstream = \"x\"", "kind", "source.stream"),
        ("done = \"keep\"", "done = \"usage\"", "kind", "the folder of the source itself"),
        ("done = \"keep\"", "done = \"\"", "kind", "source.done"),
        ("schema = \"zrgw\"", "schema = \"Zrgw\"", "schema", "ledger.schema"),
        ("schema = \"zrgw\"", "schema = \"pg_zrgw\"", "schema", "ledger.schema"),
        ("\"Asia/Almaty\"", "\"Asia/Almaata\"", "zone", "IANA"),
        ("\"400 d\"", "\"400\"", "retention", "with a unit"),
        ("\"400 d\"", "\"0 d\"", "retention", "above 0"),
        ("\"400 d\"", "\"36 h\"", "retention", "whole days"),
        ("\"30 s\"", "30", "duration", "invalid type"),
        ("127.0.0.1:9465", "127.0.0.1", "address", "with a port"),
        ("schema = \"zrgw\"", "scheme = \"zrgw\"", "schema", "unknown field"),
        ("postgresql://zrgw@127.0.0.1:5432/zrgw", "postgresql://zrgw:secret@/zrgw", "url", "no host"),
        ("127.0.0.1:5432/zrgw", "127.0.0.1:5432/zrgw?sslmode=require", "url", "without TLS"),
    ] {
        let message = refused(from, to);
        assert!(message.starts_with(&line(at)) && message.contains(words), "{to}: {message}");
        assert!(!message.contains("secret"), "{message}");
    }
    assert!(refused("url = \"postgresql://zrgw@127.0.0.1:5432/zrgw\"", "").contains("missing field"));
    assert!(refused("dir = \"usage\"", "").contains("source.dir"));
    assert!(refused("[[source]]\nkind", "source = []\n[other]\nkind").contains("source"));
}
