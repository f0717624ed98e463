//! `[[rating_group]]`: the number billing knows a service by, and who takes its bytes off the bill.

use crate::Config;
use crate::key::Key;
use crate::listener::{Listener, Mode};
use crate::node::is_id;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::Section;
use crate::value::{count_of, word_of};
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// The keys of `[[rating_group]]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("rating_group", "id"),
    Key::required("rating_group", "services"),
    Key::required("rating_group", "disposition"),
    Key::optional("rating_group", "dscp"),
    Key::optional("rating_group", "fwmark"),
    Key::defaulted("rating_group", "mark_upstream"),
];

/// Rating group of every service when none is configured.
pub const ID_DEFAULT: u32 = 1;
/// Stands for every service that no other group names.
pub const EVERY_SERVICE: &str = "*";
/// Most rating groups.
pub const GROUPS_MAX: usize = 10_000;
/// Longest service id (`allowlist/docs/document.md`).
pub const SERVICE_ID_CHARS_MAX: usize = 40;
/// Range of `dscp`; 0 is what unmarked packets carry.
pub const DSCP_RANGE: RangeInclusive<u8> = 1..=63;
/// Range of `fwmark`; 0 is no mark.
pub const MARK_RANGE: RangeInclusive<u32> = 1..=u32::MAX;
/// The dispositions as written.
const DISPOSITIONS: [(&str, Disposition); 3] = [
    ("tagged", Disposition::Tagged),
    ("reported", Disposition::Reported),
    ("observed", Disposition::Observed),
];
/// What the dispositions are, for messages.
const DISPOSITION_FORM: &str = "one of \"tagged\", \"reported\", \"observed\"";
/// What services look like, for messages.
const SERVICES_FORM: &str = "an array of service ids, or [\"*\"] for all that no other group names";

/// `[[rating_group]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatingGroup {
    /// Number billing knows the services by.
    pub id: u32,
    /// Its services.
    pub services: Services,
    /// Who takes the bytes off the bill.
    pub disposition: Disposition,
    /// DSCP of packets towards the subscriber while a flow is exempt (RFC 2474 §3: six bits).
    pub dscp: Option<u8>,
    /// Mark of such packets on this machine, for rules of the operator's own (SO_MARK).
    pub fwmark: Option<u32>,
    /// Whether packets towards the origin carry the DSCP too. The mark stays off: what goes to origins has
    /// `edge.upstream_mark`, without which it would be taken again.
    pub mark_upstream: bool,
}

/// The services of a rating group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Services {
    /// Every service that no other group names.
    Others,
    /// These service ids.
    Named(Vec<String>),
}

/// Who takes exempt bytes off the bill (decision 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The core already zero-rates by our mark.
    Tagged,
    /// Billing subtracts our count.
    Reported,
    /// Nobody yet: counted only.
    Observed,
}

impl Disposition {
    /// The disposition as written in configuration and usage files.
    pub fn label(self) -> &'static str {
        match self {
            Disposition::Tagged => "tagged",
            Disposition::Reported => "reported",
            Disposition::Observed => "observed",
        }
    }
}

/// The group of `service` among `groups`: the one that names it, else the one for all others.
pub fn of<'g>(groups: &'g [RatingGroup], service: &str) -> Option<&'g RatingGroup> {
    let named = groups.iter().find(|group| match &group.services {
        Services::Others => false,
        Services::Named(ids) => ids.iter().any(|id| id == service),
    });
    named.or_else(|| groups.iter().find(|group| group.services == Services::Others))
}

/// Numbers of the groups whose bytes the core is to take off the bill by a mark, though they have none. What DNS led here
/// needs no mark, for the core's rule may be the gateway's own address; what was going elsewhere does.
pub(crate) fn unmarked(config: &Config) -> impl Iterator<Item = usize> {
    let passes = |listener: &Listener| listener.mode != Mode::Steered;
    let is_passing = !config.sockets.is_empty() || config.listeners.iter().any(passes);
    let groups = config.rating_groups.iter().enumerate();
    let lacks = |group: &RatingGroup| {
        group.disposition == Disposition::Tagged && group.dscp.is_none() && group.fwmark.is_none()
    };
    groups.filter(move |(_, group)| is_passing && lacks(group)).map(|(number, _)| number)
}

/// A word on groups with a mark where no listener can set one: the leg behind a balancer is not the subscriber's.
pub(crate) fn unseen_marks(groups: &[RatingGroup], listeners: &[Listener]) -> Option<String> {
    let is_behind = listeners.iter().all(|listener| listener.mode == Mode::ProxyProtocol);
    let is_tagged = groups.iter().any(|group| group.disposition == Disposition::Tagged);
    let note = "[[rating_group]] disposition = \"tagged\" where every listener is behind a balancer: packets to the balancer \
                carry no mark, so that nobody takes these bytes off the bill; \"reported\" has billing subtract them";
    (is_behind && is_tagged).then(|| note.to_owned())
}

/// Reads all `[[rating_group]]` sections; without any, one default group takes every service. `divert_mark` is
/// `edge.divert_mark`, which leads packets to us.
pub(crate) fn read(reader: &mut Reader<'_>, divert_mark: u32) -> Vec<RatingGroup> {
    let sections = reader.sections("rating_group");
    if sections.is_empty() {
        let services = Services::Others;
        return vec![RatingGroup {
            id: ID_DEFAULT,
            services,
            disposition: Disposition::Observed,
            dscp: None,
            fwmark: None,
            mark_upstream: false,
        }];
    }
    if let Some(over) = sections.get(GROUPS_MAX) {
        let fault =
            Mismatch::new(format!("{} rating groups", sections.len()), format!("at most {GROUPS_MAX}"));
        reader.wrong("rating_group", over.at, fault);
    }
    let mut groups = Vec::with_capacity(sections.len());
    let mut seen = Seen::default();
    for section in &sections {
        groups.extend(read_one(reader, section, divert_mark, &mut seen));
    }
    if groups.len() == sections.len()
        && !seen.services.contains_key(EVERY_SERVICE)
        && let Some(first) = sections.first()
    {
        let fault =
            Mismatch::new("no group for the services that none names", "one group with services = [\"*\"]");
        reader.missing("rating_group.services", first.at, fault);
    }
    groups
}

/// What earlier groups have taken.
#[derive(Default)]
struct Seen {
    /// Service id (or `*`) to the group that names it.
    services: HashMap<String, String>,
    /// Group number to its first disposition and section.
    dispositions: HashMap<u32, (Disposition, String)>,
}

/// Reads one group and compares it with the earlier ones.
fn read_one<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    divert_mark: u32,
    seen: &mut Seen,
) -> Option<RatingGroup> {
    let found = section.read(reader, "id", |value| count_of(value, &(0..=u32::MAX)));
    let id = section.required(reader, "id", found, "a whole number");
    let services = read_services(reader, section, seen);
    let found = section.read(reader, "disposition", |value| word_of(value, &DISPOSITIONS));
    let disposition = section.required(reader, "disposition", found, DISPOSITION_FORM);
    let dscp = section.read(reader, "dscp", |value| count_of(value, &DSCP_RANGE));
    let fwmark = section.read(reader, "fwmark", |value| match count_of(value, &MARK_RANGE)? {
        taken if taken == divert_mark => {
            let fault = Mismatch::new(format!("{taken}, which is edge.divert_mark"), "another mark");
            Err(fault.remedy("with that mark packets to subscribers would be led back to the gateway"))
        }
        mark => Ok(mark),
    });
    let mark_upstream = section.boolean(reader, "mark_upstream", false).value;
    let ((id, _), (disposition, at)) = (id?, disposition?);
    let first = seen.dispositions.entry(id).or_insert_with(|| (disposition, section.key("disposition")));
    if first.0 != disposition {
        let found = format!("\"{}\" for rating group {id}", disposition.label());
        let wanted = format!("\"{}\" as {} has it", first.0.label(), first.1);
        let remedy = "two dispositions would exempt the same bytes twice: give one of the groups another id";
        reader.wrong(section.key("disposition"), at, Mismatch::new(found, wanted).remedy(remedy));
    }
    Some(RatingGroup {
        id,
        services: services?,
        disposition,
        dscp: section.defaulted(dscp.map(Some), None).value,
        fwmark: section.defaulted(fwmark.map(Some), None).value,
        mark_upstream,
    })
}

/// Reads the services of one group; none may be named twice.
fn read_services(reader: &mut Reader<'_>, section: &Section<'_>, seen: &mut Seen) -> Option<Services> {
    if section.value("services").is_none() {
        section.required::<()>(reader, "services", crate::section::Found::Absent, SERVICES_FORM);
        return None;
    }
    let entries = section.read_each(reader, "services", SERVICES_FORM, |value| match value.as_str() {
        Some(text) if text == EVERY_SERVICE || is_id(text, SERVICE_ID_CHARS_MAX) => Ok(text.to_owned()),
        _ => Err(Mismatch::new(describe(value), "a service id (1 to 40 of a-z, 0-9 and -) or \"*\"")),
    })?;
    let key = section.key("services");
    if let (Some((value, at)), true) = (section.value("services"), entries.is_empty())
        && value.as_array().is_some_and(|array| array.is_empty())
    {
        reader.wrong(&key, at, Mismatch::new("no service", SERVICES_FORM));
    }
    for (index, (service, at)) in entries.iter().enumerate() {
        let here = format!("{key}[{index}]");
        if service == EVERY_SERVICE && entries.len() > 1 {
            let fault = Mismatch::new("\"*\" beside service ids", "\"*\" alone");
            reader.wrong(&here, *at, fault.remedy("give the named services a group of their own"));
        }
        if let Some(first) = seen.services.get(service) {
            let fault = Mismatch::new(
                format!("\"{service}\", which {first} already has"),
                "each service in one group",
            );
            reader.wrong(&here, *at, fault);
        } else {
            seen.services.insert(service.clone(), here);
        }
    }
    if entries.iter().any(|(service, _)| service == EVERY_SERVICE) {
        return Some(Services::Others);
    }
    Some(Services::Named(entries.into_iter().map(|(service, _)| service).collect()))
}
