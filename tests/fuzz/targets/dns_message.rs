//! The DNS message reader: places lie within the message, and what is believed hangs together.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use gateway::wire::dns::{AnswerLimits, Facts, HEADER_BYTES, Outcome, RCODE_NO_ERROR, answer, question};
use gateway::wire::dnstap;

/// Small enough that the fuzzer meets the limits.
const LIMITS: AnswerLimits = AnswerLimits {
    message_bytes_max: 4_096,
    records_max: 64,
    cnames_max: 4,
    found_max: 8,
    ech_configs_max: 2,
};

/// What an answer says must follow from its question.
fn judge(message: &[u8], facts: &Facts) {
    let asked = question(message).expect("an answer has a readable question");
    assert_eq!(asked, facts.question);
    assert!(asked.is_response);
    let found = &facts.found;
    let nothing = found.addresses.is_empty() && found.hints.is_empty() && found.targets.is_empty();
    if facts.rcode != RCODE_NO_ERROR || asked.truncated {
        assert!(nothing && found.chain.is_empty() && found.ech.is_empty(), "{facts:?}");
    }
    assert!(found.chain.len() <= LIMITS.cnames_max && !found.chain.contains(&asked.name));
    for (place, name) in found.chain.iter().enumerate() {
        assert!(!found.chain[..place].contains(name), "a circle");
    }
    for list in [&found.addresses, &found.hints] {
        assert!(list.len() <= LIMITS.found_max);
    }
    assert!(found.targets.len() <= LIMITS.found_max && found.ech.len() <= LIMITS.ech_configs_max);
}

/// The bytes are a message, and a dnstap frame's payload.
pub fn run(data: &[u8]) {
    if let Ok(asked) = question(data) {
        assert_eq!(asked.section.start, HEADER_BYTES);
        assert!(asked.section.end <= data.len());
        // What stands behind the question does not change it.
        assert_eq!(question(&data[..asked.section.end]).as_ref().map(|asked| &asked.name), Ok(&asked.name));
    }
    match answer(data, &LIMITS) {
        Outcome::Answer(facts) => judge(data, &facts),
        Outcome::Oversize | Outcome::NotAnAnswer | Outcome::Malformed { .. } => {}
    }
    if let Ok(Some(told)) = dnstap::observed(data) {
        assert!(told.response.len() <= data.len());
    }
    if let Ok((control, _)) = dnstap::control(data) {
        // Its written form is read as itself.
        let written = dnstap::control_frame(control);
        assert_eq!(dnstap::control(&written[8..]).map(|(control, _)| control), Ok(control));
    }
}
