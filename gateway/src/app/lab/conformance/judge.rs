//! From what devices saw and what billing received to an answer for each probe. Values only.

use std::collections::BTreeMap;

use billing_export::Class;
use serde::Serialize;

use super::client::Seen;
use super::decode::{TOLERANCE_BYTES, Undecoded, decode};
use super::plan::{Probe, UNMARKED_BYTES_MAX, Wanted, Who};
use crate::app::lab::demo::exported::Exported;

/// A probe with no more than this cannot be told from a deviation.
const UNTOLD_BYTES_MAX: u64 = 2 * TOLERANCE_BYTES;

/// What a probe got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its bytes are in the exempt total.
    Exempt,
    /// Its bytes are in the total of another class, for this reason.
    NotExempt(String),
    /// Its bytes are in no total.
    Uncounted,
    /// No more came than the core passes on of any connection; and how the device ended it.
    CutOff(String),
    /// Its answer did not come, or not whole.
    Failed(String),
    /// The totals do not tell.
    Unknown,
}

/// The totals of one subscriber.
#[derive(Debug, Serialize)]
pub(super) struct Total {
    /// Who.
    pub subscriber: &'static str,
    /// Bytes downward in exempt rows.
    pub exempt_down_bytes: i128,
    /// Bytes downward in rows of other classes.
    pub other_down_bytes: i128,
    /// Why the exempt total decodes to no set of probes.
    pub undecoded: Option<&'static str>,
}

/// A probe and its answer.
#[derive(Debug)]
pub(super) struct Row {
    /// The probe.
    pub probe: Probe,
    /// Bytes that came to the device.
    pub down_bytes: u64,
    /// What it got.
    pub found: Found,
}

/// The outcome of the audit.
#[derive(Debug)]
pub(super) struct Judgement {
    /// Every probe.
    pub rows: Vec<Row>,
    /// Every subscriber.
    pub totals: Vec<Total>,
    /// What is wrong with the records themselves.
    pub faults: Vec<String>,
}

impl Row {
    /// Whether the probe got what it must.
    pub(super) fn is_good(&self) -> bool {
        match self.probe.wanted {
            Wanted::Exempt => self.found == Found::Exempt,
            Wanted::NotExempt => matches!(self.found, Found::NotExempt(_)),
            Wanted::CutOff => matches!(self.found, Found::CutOff(_)),
        }
    }
}

impl Judgement {
    /// Whether all is as it must be.
    pub(super) fn is_good(&self) -> bool {
        self.faults.is_empty()
            && self.rows.iter().all(Row::is_good)
            && self.totals.iter().all(|total| total.undecoded.is_none())
    }
}

/// Judges every probe by the records alone; `seen` only gives its size.
pub(super) fn judge(probes: Vec<(Probe, Seen)>, exported: &Exported) -> Judgement {
    let mut outcome = Judgement { rows: Vec::new(), totals: Vec::new(), faults: faults(exported) };
    for who in Who::ALL {
        let own: Vec<_> = probes.iter().filter(|(probe, _)| probe.who == who).collect();
        let told: Vec<usize> = (0..own.len())
            .filter(|index| own.get(*index).is_some_and(|(_, seen)| seen.payload_bytes > UNTOLD_BYTES_MAX))
            .collect();
        let sizes: Vec<u64> =
            told.iter().filter_map(|index| own.get(*index)).map(|(_, seen)| seen.down_bytes).collect();
        let cut_off = own.iter().any(|(probe, _)| probe.wanted == Wanted::CutOff);
        let totals = totals(exported, who);
        let mut found: Vec<Option<Found>> = vec![None; own.len()];
        let mut total =
            Total { subscriber: who.id(), exempt_down_bytes: 0, other_down_bytes: 0, undecoded: None };
        for ((class, reason), bytes) in &totals {
            let answer = match class {
                Class::Exempt => {
                    total.exempt_down_bytes = *bytes;
                    Found::Exempt
                }
                Class::Charged | Class::Unattributed => {
                    total.other_down_bytes = total.other_down_bytes.saturating_add(*bytes);
                    Found::NotExempt(reason.clone())
                }
            };
            // What was sent again and again to somebody who was cut off is no probe's size, and near one by accident only.
            if cut_off && answer != Found::Exempt {
                continue;
            }
            match u64::try_from(*bytes).map_err(|_| Undecoded::NoSet).and_then(|sum| decode(sum, &sizes)) {
                Ok(set) => {
                    let chosen = told.iter().zip(set).filter(|(_, is_in)| *is_in);
                    for (index, _) in chosen {
                        let Some(place) = found.get_mut(*index) else { continue };
                        // In two totals at once: neither is believed.
                        *place = Some(if place.is_some() { Found::Unknown } else { answer.clone() });
                    }
                }
                Err(why) if answer == Found::Exempt => total.undecoded = Some(why.label()),
                Err(_) => {}
            }
        }
        for ((probe, seen), found) in own.into_iter().zip(found) {
            let found = match (&seen.outcome, found) {
                (Err(why), _)
                    if probe.wanted == Wanted::CutOff && seen.payload_bytes <= UNMARKED_BYTES_MAX =>
                {
                    Found::CutOff(why.clone())
                }
                (Err(why), _) => Found::Failed(why.clone()),
                (Ok(()), None) if total.undecoded.is_some() => Found::Unknown,
                (Ok(()), None) => Found::Uncounted,
                (Ok(()), Some(found)) => found,
            };
            outcome.rows.push(Row { probe: *probe, down_bytes: seen.down_bytes, found });
        }
        outcome.totals.push(total);
    }
    outcome
}

/// Bytes downward of a subscriber: all exempt ones in one sum, others by class and reason.
fn totals(exported: &Exported, who: Who) -> BTreeMap<(Class, String), i128> {
    // A node that exempts nothing has a total too.
    let mut totals = BTreeMap::from([((Class::Exempt, String::new()), 0_i128)]);
    for ((subscriber, class, what), bytes) in &exported.lines {
        // Bytes of nobody can be anybody's.
        if *subscriber != format!("account {}", who.id()) && *class != Class::Unattributed {
            continue;
        }
        let reason = match class {
            Class::Exempt => String::new(),
            Class::Charged | Class::Unattributed => what.clone(),
        };
        let sum = totals.entry((*class, reason)).or_default();
        *sum = sum.saturating_add(bytes.down);
    }
    totals
}

/// What is wrong with the records.
fn faults(exported: &Exported) -> Vec<String> {
    let mut faults: Vec<String> = exported.report.faults.iter().map(ToString::to_string).collect();
    let files = exported.files.len();
    if exported.conserved != files {
        faults.push(format!("found {} of {files} files that conserve bytes, wanted all", exported.conserved));
    }
    if files == 0 {
        faults.push("found no usage file, wanted at least one".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use billing_export::verify::Report;

    use super::*;
    use crate::app::lab::conformance::plan::{Audit, Protocol, probes};
    use crate::app::lab::demo::exported::{Bytes, FileLine};

    /// One sound file with these rows.
    fn records(rows: &[(&str, Class, &str, u64)]) -> Exported {
        let file = FileLine { name: "one.csv".to_owned(), records: 1, bytes: Bytes::default() };
        let mut lines = BTreeMap::new();
        for (subscriber, class, what, down) in rows {
            let line = ((*subscriber).to_owned(), *class, (*what).to_owned());
            lines.insert(line, Bytes { up: 0, down: (*down).into() });
        }
        let report = Report {
            files: 1,
            records: 1,
            up_bytes: 0,
            down_bytes: 0,
            faults: Vec::new(),
            notes: Vec::new(),
        };
        Exported { lines, files: vec![file], seen: Bytes::default(), conserved: 1, report }
    }

    /// Every probe of a subscriber over TCP with all that it asked for.
    fn answered(who: Who) -> Vec<(Probe, Seen)> {
        let seen = |probe: &Probe| {
            let bytes = probe.payload_bytes + 1_500;
            Seen { down_bytes: bytes, payload_bytes: bytes, port: 0, outcome: Ok(()) }
        };
        let own = probes(&[Protocol::Tcp]).into_iter().filter(|probe| probe.who == who);
        own.map(|probe| (probe, seen(&probe))).collect()
    }

    /// Bytes of the probes of a test.
    fn sum(probes: &[(Probe, Seen)], audit: Audit) -> u64 {
        probes.iter().filter(|(probe, _)| probe.audit == audit).map(|(_, seen)| seen.down_bytes).sum()
    }

    /// What the probes of a test got.
    fn found(outcome: &Judgement, audit: Audit) -> Vec<&Found> {
        outcome.rows.iter().filter(|row| row.probe.audit == audit).map(|row| &row.found).collect()
    }

    #[test]
    fn t23_each_total_says_whose_it_is() {
        let probes = answered(Who::Paying);
        let [validate, sni, ip] =
            [Audit::Validate, Audit::CheckSni, Audit::CheckIp].map(|audit| sum(&probes, audit));
        let sound = records(&[
            ("account paying", Class::Exempt, "listed", validate),
            ("account paying", Class::Charged, "address_mismatch", sni),
            ("account paying", Class::Charged, "not_listed", ip),
            ("account other", Class::Exempt, "listed", sni),
        ]);
        let outcome = judge(probes, &sound);
        assert!(outcome.is_good(), "{outcome:?}");
        assert_eq!(found(&outcome, Audit::Validate), [&Found::Exempt; 2]);
        assert_eq!(found(&outcome, Audit::CheckSni), [&Found::NotExempt("address_mismatch".to_owned()); 2]);
    }

    #[test]
    fn t23_a_forged_name_or_address_in_the_exempt_total_is_seen() {
        for forged in [Audit::CheckSni, Audit::CheckIp] {
            let probes = answered(Who::Paying);
            let exempt = sum(&probes, Audit::Validate) + sum(&probes, forged);
            let outcome = judge(probes, &records(&[("account paying", Class::Exempt, "listed", exempt)]));
            assert!(!outcome.is_good());
            assert_eq!(found(&outcome, forged), [&Found::Exempt; 2]);
            let bad: Vec<_> = outcome.rows.iter().filter(|row| !row.is_good()).collect();
            assert_eq!(bad.len(), 4, "two exempt, two in no record: {bad:?}");
        }
    }

    #[test]
    fn a_total_of_no_set_and_records_that_are_none_are_no_answer() {
        let probes = answered(Who::Paying);
        let odd = sum(&probes, Audit::Validate) + 20_000;
        let outcome = judge(probes, &records(&[("account paying", Class::Exempt, "listed", odd)]));
        assert!(!outcome.is_good());
        assert!(outcome.rows.iter().all(|row| row.found == Found::Unknown), "{outcome:?}");
        let undecoded: Vec<bool> = outcome.totals.iter().map(|total| total.undecoded.is_some()).collect();
        assert_eq!(undecoded, [true, false], "who has nothing in the records has no probe in them");
        let mut records = records(&[]);
        (records.files, records.conserved) = (Vec::new(), 0);
        assert_eq!(judge(Vec::new(), &records).faults, ["found no usage file, wanted at least one"]);
    }

    #[test]
    fn an_answer_that_did_not_come_is_told() {
        let mut probes = answered(Who::Paying);
        for (_, seen) in &mut probes {
            *seen = Seen { down_bytes: 0, payload_bytes: 0, port: 0, outcome: Err("no route".to_owned()) };
        }
        let outcome = judge(probes, &records(&[]));
        assert!(outcome.rows.iter().all(|row| row.found == Found::Failed("no route".to_owned())));
        assert!(!outcome.is_good());
    }

    #[test]
    fn without_credit_what_goes_on_is_told_from_what_is_cut_off() {
        let cut = |bytes| Seen {
            down_bytes: bytes,
            payload_bytes: bytes,
            port: 0,
            outcome: Err("timed out".to_owned()),
        };
        let mut probes = answered(Who::WithoutCredit);
        let exempt = sum_of(&probes, Wanted::Exempt);
        let listed =
            probes.iter().find(|(probe, _)| probe.wanted == Wanted::Exempt).map(|(_, seen)| seen.down_bytes);
        let records = records(&[
            ("account without-credit", Class::Exempt, "listed", exempt),
            // What was sent again and again in vain, as much as a probe by accident.
            ("account without-credit", Class::Charged, "not_listed", listed.unwrap()),
        ]);
        let wanted_off = |(probe, _): &&mut (Probe, Seen)| probe.wanted == Wanted::CutOff;
        probes.iter_mut().filter(wanted_off).for_each(|(_, seen)| *seen = cut(UNMARKED_BYTES_MAX));
        let outcome = judge(probes, &records);
        assert!(outcome.is_good(), "{outcome:?}");

        let mut probes = answered(Who::WithoutCredit);
        probes.iter_mut().filter(wanted_off).for_each(|(_, seen)| *seen = cut(UNMARKED_BYTES_MAX + 1));
        let outcome = judge(probes, &records);
        assert_eq!(outcome.rows.iter().filter(|row| row.is_good()).count(), 2, "one byte over: {outcome:?}");
    }

    /// Bytes of the probes of which this must come.
    fn sum_of(probes: &[(Probe, Seen)], wanted: Wanted) -> u64 {
        let chosen = probes.iter().filter(|(probe, _)| probe.wanted == wanted);
        chosen.map(|(_, seen)| seen.down_bytes).sum()
    }
}
