//! The DNS reader: what is believed of a message stands on its chain, within its limits, and in no prefix of it.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use gateway::wire::dns::{self, AnswerLimits, Name, Outcome};

/// All bytes are the peer's.
pub fn run(data: &[u8]) {
    let data = data.get(..4096).unwrap_or(data);
    let limits = AnswerLimits { records_max: 64, found_max: 32, cnames_max: 4, ..AnswerLimits::default() };
    let asked = dns::question(data);
    if let Ok(asked) = &asked {
        let section = &data[asked.section.clone()];
        assert!(
            section[..section.len() - 4].eq_ignore_ascii_case(asked.name.wire()),
            "the place of the question"
        );
        assert_eq!(
            dns::question(&data[..asked.section.end]),
            Ok(asked.clone()),
            "what follows makes no difference"
        );
        for end in 0..asked.section.end {
            assert!(dns::question(&data[..end]).is_err(), "prefix of {end}");
        }
        names(&asked.name);
    }
    match dns::answer(data, &limits) {
        Outcome::Answer(facts) => {
            assert_eq!(Ok(&facts.question), asked.as_ref());
            assert!(facts.question.is_response);
            let found = &facts.found;
            let silent = facts.rcode != dns::RCODE_NO_ERROR || facts.question.truncated;
            assert!(!silent || *found == dns::Found::default(), "nothing is believed of it");
            assert!(found.chain.len() <= limits.cnames_max);
            assert!(
                found.addresses.len().max(found.hints.len()).max(found.targets.len()) <= limits.found_max
            );
            assert!(found.ech.len() <= limits.ech_configs_max);
            for (place, name) in found.chain.iter().enumerate() {
                assert!(*name != facts.question.name && !found.chain[..place].contains(name), "a circle");
                names(name);
            }
        }
        Outcome::NotAnAnswer | Outcome::Oversize => {}
        Outcome::Malformed { field } => assert!(!field.is_empty()),
    }
}

/// A name with a text form is the name of that text.
fn names(name: &Name) {
    if let Some(host) = name.host() {
        assert_eq!(Name::from_host(&host).as_ref(), Some(name));
    }
    assert_eq!(Name::from_labels(name.labels()).as_ref(), Some(name));
}
