//! What the configuration names, read at start and at each reload: list, subscribers, rating groups, allowances. The last good
//! ones stay when new ones are bad.

pub mod outcome;
pub mod radius;
mod subscribers;

use std::path::Path;
use std::sync::Arc;

use allowlist::lint::Code;
use config::Config;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::input::{InputFault, read_text};
use super::lists::{Former, Gate, ListKeeper};
use super::start::{edge, sinks};
use crate::flow::allowance::{AllowancePlan, Limits};
use crate::flow::mark::Mark;
use crate::flow::rating::{RatingGroup, RatingPlan};
use crate::flow::session::Sessions;
use crate::net::node::policy::PolicyCell;
use outcome::Reloaded;
pub use subscribers::read as read_subscribers;

/// Reads a configuration file.
///
/// # Errors
/// Every problem with its place.
pub fn load(path: &Path) -> Result<Config, InputFault> {
    let text = read_text(path, config::TEXT_BYTES_MAX, "nothing: is this the configuration file?")?;
    let base = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let config = Config::parse(&text, base).map_err(|problems| InputFault {
        lines: problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect(),
        unreadable: false,
    })?;
    let config = Config { source: path.to_owned(), ..config };
    // The parser opens nothing and knows no list; whether there is such a time zone is for the system's database to say.
    let mut lines = Vec::new();
    let mut add = |key: &str, problem: String| lines.push(format!("{}: {problem}", config.at(key)));
    unknown_codes(&config.list).into_iter().for_each(|problem| add("list.accept_errors", problem));
    if let Err(problem) = allowance(&config) {
        add("allowance.zone", problem);
    }
    for (key, problem) in sinks::plans(&config).err().into_iter().flatten() {
        add(&key, problem);
    }
    if lines.is_empty() { Ok(config) } else { Err(InputFault { lines, unreadable: false }) }
}

/// The fault of a file that cannot be read, with the key that names the file; other faults have their place in the file.
pub fn named_by(config: &Config, key: &str, fault: InputFault) -> InputFault {
    if !fault.unreadable {
        return fault;
    }
    let at = config.at(key);
    InputFault { lines: fault.lines.iter().map(|line| format!("{at}: {line}")).collect(), unreadable: true }
}

/// Codes of `list.accept_errors` that are none of an error the linter could report.
fn unknown_codes(list: &config::List) -> Vec<String> {
    let known = || Code::ALL.into_iter().filter(|code| code.is_acceptable());
    let is_known = |text: &str| Code::from_label(text).is_some_and(Code::is_acceptable);
    let labels: Vec<&str> = known().map(Code::label).collect();
    let unknown = list.accept_errors.iter().filter(|text| !is_known(text));
    unknown.map(|text| format!("found \"{text}\"; wanted one of {}", labels.join(", "))).collect()
}

/// The allowances of the configuration.
///
/// # Errors
/// Its zone is not in the system's time zone database.
pub fn allowance(config: &Config) -> Result<AllowancePlan, String> {
    let Some(stated) = &config.allowance else { return Ok(AllowancePlan::unlimited()) };
    let zone = TimeZone::get(&stated.zone).map_err(|_| {
        format!(
            "found \"{}\", which the time zone database does not have; wanted one of it, such as \"Asia/Almaty\"; `timedatectl list-timezones` lists them",
            stated.zone
        )
    })?;
    let limits = |spans: config::allowance::Spans| Limits { daily: spans.daily, monthly: spans.monthly };
    let groups = stated.groups.iter().map(|group| {
        let services = group.services.iter().map(|service| Arc::from(service.as_str())).collect();
        (Arc::from(group.id.as_str()), limits(group.spans), services)
    });
    let plan = AllowancePlan::new(zone, limits(stated.overall), limits(stated.shared_addresses), groups);
    Ok(plan.with_counters_max(stated.counters_max))
}

/// What a list must pass by the configuration.
pub fn gate(list: &config::List) -> Gate {
    Gate {
        limits: allowlist::Limits { bytes_max: list.size_max, entries_max: list.entries_max },
        // `load` has refused what is no code.
        accepted: list.accept_errors.iter().filter_map(|code| Code::from_label(code)).collect(),
    }
}

/// What becomes of the names of former lists: only where subscribers are led here by them are they carried on.
pub fn former(config: &Config) -> Former {
    let is_steered = config.listeners.iter().any(|listener| listener.mode == config::Mode::Steered);
    let steers = config.dns.as_ref().is_some_and(|dns| !dns.steer_addresses.is_empty());
    if is_steered || steers { Former::Carried { hosts_max: config.list.entries_max } } else { Former::LetGo }
}

/// The rating plan of the configuration.
pub fn rating(config: &Config) -> RatingPlan {
    let group = |group: &config::RatingGroup| RatingGroup {
        id: group.id,
        disposition: match group.disposition {
            config::Disposition::Tagged => billing_export::Disposition::Tagged,
            config::Disposition::Reported => billing_export::Disposition::Reported,
            config::Disposition::Observed => billing_export::Disposition::Observed,
        },
        mark: Mark {
            dscp: group.dscp.unwrap_or(Mark::NONE.dscp),
            fwmark: group.fwmark.unwrap_or(Mark::NONE.fwmark),
            upstream: group.mark_upstream,
        },
    };
    let default = RatingGroup {
        id: config::rating_group::ID_DEFAULT,
        disposition: billing_export::Disposition::Observed,
        mark: Mark::NONE,
    };
    let mut otherwise = default;
    let mut by_service: Vec<(Arc<str>, RatingGroup)> = Vec::new();
    for stated in &config.rating_groups {
        match &stated.services {
            config::Services::Others => otherwise = group(stated),
            config::Services::Named(services) => {
                by_service
                    .extend(services.iter().map(|service| (Arc::from(service.as_str()), group(stated))));
            }
        }
    }
    RatingPlan::new(otherwise, by_service)
}

/// Blocks that addresses of one session of accounting may come to: IPv4, an IPv6 prefix, a delegated one, and a route.
const BLOCKS_PER_SESSION: usize = 4;

/// Most blocks of addresses that have a session: those of the subscriber table, and those of accounting.
pub fn held_max(config: &Config) -> usize {
    let accounting = config.radius.as_ref().map_or(0, |radius| radius.sessions_max);
    config.limits.sessions_max.saturating_add(accounting.saturating_mul(BLOCKS_PER_SESSION))
}

/// Reads list and subscribers anew and publishes what is good: the list as one policy with rating and limits, of the table what
/// changed.
pub fn refresh(
    config: &Config,
    keeper: &mut ListKeeper,
    (policy, sessions): (&PolicyCell, &Sessions),
    now: Timestamp,
) -> Reloaded {
    let mut outcome = Reloaded::default();
    match keeper.accept(&config.list.file, &gate(&config.list), now) {
        Ok(notes) => outcome.notes.extend(notes),
        Err(fault) => outcome.list = Some(named_by(config, "list.file", fault)),
    }
    outcome.unproven = keeper.unproven().map(ToOwned::to_owned);
    let subscribers = subscribers::renew(config, sessions.stated());
    let rating = Arc::new(rating(config));
    let allowance = allowance(config).map_err(|problem| {
        outcome.notes.push(InputFault {
            lines: vec![format!("allowance.zone: {problem}; the old limits stay")],
            unreadable: false,
        });
    });
    policy.update(|next| {
        keeper.publish(next);
        next.rating = rating;
        if let Ok(allowance) = allowance {
            next.allowance = Arc::new(allowance);
        }
    });
    match subscribers {
        Ok(rows) => {
            sessions.set_held_max(held_max(config));
            sessions.replace_static(rows.into_iter().map(|(prefix, session)| (prefix.into(), session)));
        }
        Err(fault) => outcome.subscribers = Some(fault),
    }
    outcome
}

/// Reads the configuration again and takes over what a running node can follow: list, subscribers, rating groups,
/// allowances, and where the certificate of DNS over TLS is. What needs a restart, and a configuration that cannot be used, is
/// told.
pub fn reread(path: &Path, config: &mut Config) {
    match load(path) {
        Ok(new) => {
            let old_tls = config.dns.as_mut().and_then(|dns| dns.tls.as_mut());
            let new_tls = new.dns.as_ref().and_then(|dns| dns.tls.as_ref());
            if let (Some(old), Some(new)) = (old_tls, new_tls) {
                old.certificate.clone_from(&new.certificate);
                old.key.clone_from(&new.key);
            }
            config.limits.sessions_max = new.limits.sessions_max;
            if let (Some(old), Some(new)) = (&mut config.radius, &new.radius) {
                old.clients.clone_from(&new.clients);
            }
            let restart = needs_restart(config, &new);
            if !restart.is_empty() {
                tracing::warn!(sections = ?restart, "changed sections that take effect at the next start only");
            }
            let (before, after) = (edge::plan(config).dscps, edge::plan(&new).dscps);
            if before != after {
                tracing::warn!(
                    ?before,
                    ?after,
                    "rating groups have other DSCP values: until `gateway nft apply` the kernel's rules clear those of before where others set them"
                );
            }
            config.places = new.places;
            config.list = new.list;
            config.subscribers = new.subscribers;
            config.rating_groups = new.rating_groups;
            config.allowance = new.allowance;
        }
        Err(fault) => {
            for line in &fault.lines {
                tracing::error!("configuration not taken, the old one stays: {line}");
            }
        }
    }
}

/// What a new configuration changes that a running node cannot follow.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("node", old.node != new.node),
        ("listener", old.listeners != new.listeners),
        ("radius", old.radius != new.radius),
        ("export", old.export != new.export),
        ("upstream", old.upstream != new.upstream),
        ("lookup", old.lookup != new.lookup),
        ("trusted_answers", old.trusted_answers != new.trusted_answers),
        ("dns", old.dns != new.dns),
        ("edge", old.edge != new.edge),
        ("limits", old.limits != new.limits),
        ("admin", old.admin != new.admin),
        ("log", old.log != new.log),
    ];
    changed.into_iter().filter_map(|(section, changed)| changed.then_some(section)).collect()
}
