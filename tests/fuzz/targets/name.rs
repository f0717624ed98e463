//! Names: the wire reader against a plain one, and the matcher against a judge that tries every rule.

#[path = "../../allowlist/support/naive.rs"]
mod naive;

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use allowlist::{Document, DomainName, Matcher, NameError, Transport};

/// Labels of the small alphabet that lists and names are made of: each is part of another.
const LABELS: [&str; 8] = ["a", "b", "ab", "ba", "kz", "a-b", "b1", "xn--90aud6hb"];

/// Reads the input as a name; then, as choices, a list and names to ask for.
pub fn run(data: &[u8]) {
    read(data);
    judge(data);
}

/// The wire reader against its rules written down one after another.
fn read(data: &[u8]) {
    let read = DomainName::from_wire(data);
    let text = data.strip_suffix(b".").unwrap_or(data);
    let labels: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
    let legal = |label: &&[u8]| {
        (1..=63).contains(&label.len())
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_')
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
    };
    let numeric = labels.last().is_some_and(|last| last.iter().all(u8::is_ascii_digit));
    assert_eq!(read.is_ok(), labels.iter().all(legal) && text.len() <= 253 && !numeric, "{data:?}: {read:?}");
    match &read {
        Ok(name) => {
            assert_eq!(name.as_str().as_bytes(), text.to_ascii_lowercase());
            assert_eq!(
                DomainName::from_wire(name.as_str().as_bytes()).as_ref(),
                Ok(name),
                "folding is done once"
            );
            assert_eq!(
                DomainName::from_wire(format!("{name}.").as_bytes()).as_ref(),
                Ok(name),
                "one dot may trail"
            );
            // What a list says of a name that the wire may carry is that very name.
            if let Ok(listed) = DomainName::from_list_entry(name.as_str()) {
                assert_eq!(&listed, name);
                assert_eq!(DomainName::from_list_entry(&listed.to_unicode()).as_ref(), Ok(name), "{name}");
            }
        }
        Err(error) => {
            let text = std::str::from_utf8(text).unwrap_or("");
            if text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
                assert_eq!(*error, NameError::IpLiteral);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(listed) = DomainName::from_list_entry(text)
    {
        assert_eq!(
            DomainName::from_wire(listed.as_str().as_bytes()),
            Ok(listed),
            "a listed name is a wire name"
        );
    }
}

/// The matcher against the naive judge: the input's bytes choose rules, denies and names.
fn judge(data: &[u8]) {
    let mut choices = data.iter().copied();
    let mut choose = |count: u8| choices.next().map(|byte| byte % count);
    let mut text = "format = 1\nlist_id = \"f\"\nserial = 1\nissued = 2020-01-01T00:00:00Z\n\
        effective_from = 2020-01-01T00:00:00Z\nexpires = 2021-01-01T00:00:00Z\n"
        .to_owned();
    let mut denies = String::new();
    let name = |choose: &mut dyn FnMut(u8) -> Option<u8>| {
        let labels =
            (0..=choose(3)?).map(|_| Some(LABELS[usize::from(choose(8)?)])).collect::<Option<Vec<_>>>()?;
        Some(labels.join("."))
    };
    let rules = choose(12).unwrap_or(0);
    let mut denied = Vec::new();
    for rule in 0..rules {
        let (Some(host), Some(kind)) = (name(&mut choose), choose(12)) else { break };
        match kind {
            10 | 11 if denied.contains(&host) => {}
            10 | 11 => {
                let scope = if kind == 10 { "exact" } else { "subtree" };
                writeln!(denies, "[[deny]]\nhost = \"{host}\"\nscope = \"{scope}\"")
                    .expect("a string takes all");
                denied.push(host);
            }
            _ => {
                let scope = ["exact", "subtree", "one-label"][usize::from(kind % 3)];
                let more = [
                    "",
                    "from = 2020-06-01T00:00:00Z",
                    "to = 2020-06-01T00:00:00Z",
                    "protocol = \"udp\"\nports = [\"443-500\"]",
                ][usize::from(kind % 4)];
                writeln!(text, "[[service]]\nid = \"s{rule}\"\n[[service.rule]]\nhost = \"{host}\"\nscope = \"{scope}\"\n{more}")
                    .expect("a string takes all");
            }
        }
    }
    let document = Document::parse(&format!("{text}{denies}")).expect("a list made of legal parts");
    let matcher = Matcher::new(&document);
    while let Some(asked) = name(&mut choose) {
        let asked = DomainName::from_wire(asked.as_bytes()).expect("a name made of legal labels");
        for (transport, port) in [(Transport::Tcp, 443), (Transport::Udp, 500)] {
            for at in [None, Some("2020-05-31T23:59:59Z"), Some("2020-06-01T00:00:00Z")] {
                let at = at.map(|at| at.parse().expect("a time"));
                let found = naive::said(matcher.host(&asked, transport, port, at));
                assert_eq!(
                    found,
                    naive::judge(&document, &asked, transport, port, at),
                    "{asked} {text}{denies}"
                );
            }
        }
    }
}
