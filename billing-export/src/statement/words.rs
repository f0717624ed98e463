//! The statement in whole sentences, as a support desk reads it out.

use std::fmt;

use super::{Allowance, Charged, Exempt, Statement};

/// What a reason says to a subscriber.
fn sentence(reason: &str) -> &'static str {
    match reason {
        "not_listed" => "the sites are not on the list of free study sites",
        "denied" => "the sites are excluded from the list, as advertising beside a study site is",
        "address_mismatch" => "the name of a study site was used with an address that is not that site's",
        "port" => "the site is free, but not by this protocol or port",
        "no_name" => "the connection did not say which site it was for",
        "hidden_name" => "the name of the site was hidden by encryption",
        "ambiguous" => "the connection named more than one site",
        "malformed" => "the beginning of the connection broke its protocol",
        "oversize" => "the beginning of the connection was too long to be read",
        "timeout" => "the connection did not say in time which site it was for",
        "not_recognised" => "the connection used a protocol in which no site is named",
        "dns_only_off" => {
            "the connection did not say which site it was for, and its address alone does not count for this site"
        }
        "dns_shared" => {
            "the connection did not say which site it was for, and other sites have the same address"
        }
        "dns_expired" => {
            "the connection did not say which site it was for, and the site had been looked up too long before"
        }
        "no_subscriber" => "it was not known at that time whose connection it was",
        "stale_subscriber" => "nothing had been heard of the subscriber's session for too long",
        "session_ended" => "the session had ended while the connection went on",
        "cap_reached" => "what is free in this day or month was used up",
        "no_list" => "no list of free study sites was in force",
        "list_expired" => "the list of free study sites had expired",
        "rule_not_in_force" => "the site is free at other dates",
        "second_name" => "the connection named a second, different site",
        "undecided" => "the connection ended before it said which site it was for",
        "overload" => "the gateway could not keep records, and nothing is free without a record",
        _ => "see the list of reasons",
    }
}

/// What becomes of exempt bytes.
fn exempted(disposition: &str) -> &'static str {
    match disposition {
        "tagged" => "the network did not charge them",
        "reported" => "to be taken off the bill",
        _ => "counted only: nobody exempts them yet",
    }
}

/// A count of bytes with its thousands apart.
struct Bytes(i128);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.unsigned_abs().to_string();
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            let left = digits.len().saturating_sub(at);
            if at > 0 && left.is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        if self.0 < 0 { write!(f, "-{text}") } else { f.write_str(&text) }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statement { subscriber_type, subscriber_id, day, zone, .. } = self;
        writeln!(f, "Subscriber {subscriber_id} ({subscriber_type}) on {day}, local time of {zone}.")?;
        if self.exempt.is_empty() {
            writeln!(f, "Nothing was free of charge.")?;
        }
        for Exempt { service_id, disposition, up_bytes, down_bytes } in &self.exempt {
            let (up, down, what) = (Bytes(*up_bytes), Bytes(*down_bytes), exempted(disposition));
            writeln!(f, "Free of charge at {service_id}: {down} bytes received and {up} sent; {what}.")?;
        }
        if self.charged.is_empty() {
            writeln!(f, "Nothing else was used through this gateway.")?;
        }
        for Charged { reason, up_bytes, down_bytes } in &self.charged {
            let (up, down, why) = (Bytes(*up_bytes), Bytes(*down_bytes), sentence(reason));
            writeln!(f, "Charged as usual: {down} bytes received and {up} sent, because {why} ({reason}).")?;
        }
        for Allowance { allowance, span, limit, used, left } in &self.allowances {
            let (limit, used, left) = (Bytes((*limit).into()), Bytes(*used), Bytes(*left));
            writeln!(
                f,
                "Of {limit} bytes that are free under {allowance} ({span}) {used} are used and {left} left."
            )?;
        }
        match self.adjusted.len() {
            0 => {}
            1 => writeln!(f, "These figures contain 1 correction.")?,
            count => writeln!(f, "These figures contain {count} corrections.")?,
        }
        for list in &self.lists {
            writeln!(f, "Edition {} of the list {} was in force.", list.serials.join(", "), list.list_id)?;
        }
        if self.complete {
            write!(f, "The day is complete.")
        } else {
            write!(f, "The day is not complete: records of it are still to come, or are missing.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Reason;

    #[test]
    fn every_reason_has_a_sentence_of_its_own() {
        let mut sentences: Vec<_> = Reason::ALL.iter().map(|reason| sentence(reason.label())).collect();
        assert!(!sentences.contains(&sentence("another")));
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), Reason::ALL.len());
    }

    #[test]
    fn thousands_stand_apart() {
        for (bytes, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345, "12,345"),
            (123_456, "123,456"),
            (-1_234_567, "-1,234,567"),
            (i128::from(u64::MAX), "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
