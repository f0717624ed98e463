//! List and subscribers: read, judged, kept; the last good ones stay when new ones are bad.
//!
//! Every list ever accepted is kept in the state directory: the newest is what a node starts with when the file is
//! broken, and steered mode goes on carrying the names of all of them (DESIGN decision 4).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use allowlist::{Document, Matcher};
use billing_export::{Session, SubscriberType};
use config::Config;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::start::edge;
use crate::flow::allowance::{AllowancePlan, Limits};
use crate::flow::mark::Mark;
use crate::flow::rating::{RatingGroup, RatingPlan};
use crate::flow::session::SubscriberTable;
use crate::net::policy::PolicyCell;

/// Permissions of the folders of a node's state, which holds subscribers: the owner writes, the group reads.
const STATE_MODE: u32 = 0o750;
/// Lists kept for steered routing; the oldest makes room. Names of older lists are no longer carried.
const KEPT_LISTS_MAX: usize = 16;

/// What is wrong with an input: one line for each problem, each with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `file:line:column: …`, or `file: …` where there is no place in it.
    pub lines: Vec<String>,
    /// Whether the file could not be read at all.
    pub unreadable: bool,
}

impl Fault {
    /// A fault of the file as a whole.
    fn whole(path: &Path, message: &str) -> Self {
        Self { lines: vec![format!("{}: {message}", path.display())], unreadable: false }
    }

    /// The first line and how many more there are, for one log line or a readiness reason.
    pub fn summary(&self) -> String {
        let first = self.lines.first().cloned().unwrap_or_default();
        match self.lines.len() {
            0 | 1 => first,
            count => format!("{first} (and {} more problems)", count.saturating_sub(1)),
        }
    }
}

/// Reads a text of at most `bytes_max` bytes.
///
/// # Errors
/// The path with what the system says, or with its size.
pub fn read_text(path: &Path, bytes_max: usize, key: &str) -> Result<String, Fault> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| {
        let message =
            format!("cannot be read: {error}; check the path and the permissions of the gateway's user");
        Fault { unreadable: true, ..Fault::whole(path, &message) }
    })?;
    if bytes.len() > bytes_max {
        return Err(Fault::whole(
            path,
            &format!("found more than {bytes_max} bytes, wanted at most that; raise {key}"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        Fault::whole(
            path,
            &format!("found bytes that are not UTF-8 at offset {}", error.utf8_error().valid_up_to()),
        )
    })
}

/// Reads a configuration file.
///
/// # Errors
/// Every problem with its place.
pub fn load(path: &Path) -> Result<Config, Fault> {
    let text = read_text(path, config::TEXT_BYTES_MAX, "nothing: is this the configuration file?")?;
    let base = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let config = Config::parse(&text, base).map_err(|problems| Fault {
        lines: problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect(),
        unreadable: false,
    })?;
    // The parser opens nothing; whether there is such a time zone is for the system's database to say.
    allowance(&config).map_err(|problem| {
        let place =
            config.place("allowance.zone").map_or_else(|| "1:1".to_owned(), |place| place.to_string());
        let line = format!("{}:{place}: allowance.zone: {problem}", path.display());
        Fault { lines: vec![line], unreadable: false }
    })?;
    Ok(config)
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

/// Reads and judges a list document.
///
/// # Errors
/// Every problem with its place.
pub fn read_list(path: &Path, list: &config::List) -> Result<(Document, String), Fault> {
    let text = read_text(path, list.size_max, "list.size_max")?;
    let limits = allowlist::Limits { bytes_max: list.size_max, entries_max: list.entries_max };
    match Document::parse_within(&text, &limits) {
        Ok(document) => Ok((document, text)),
        Err(problems) => {
            let lines = problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect();
            Err(Fault { lines, unreadable: false })
        }
    }
}

/// Reads and judges the subscriber table.
///
/// # Errors
/// Every problem with its place; never an id or a prefix.
pub fn read_subscribers(subscribers: Option<&config::Subscribers>) -> Result<SubscriberTable, Fault> {
    let Some(subscribers) = subscribers else { return Ok(SubscriberTable::default()) };
    let path = &subscribers.file;
    let text = read_text(path, subscribers.size_max, "subscribers.size_max")?;
    let rows = config::subscribers::parse(&text, subscribers.size_max, subscribers.entries_max).map_err(
        |problems| Fault {
            lines: problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect(),
            unreadable: false,
        },
    )?;
    let mut sessions = Vec::with_capacity(rows.len());
    for row in rows {
        let kind = match row.subscriber_type {
            config::subscribers::SubscriberType::Msisdn => SubscriberType::Msisdn,
            config::subscribers::SubscriberType::Imsi => SubscriberType::Imsi,
            config::subscribers::SubscriberType::Account => SubscriberType::Account,
        };
        // The static table has one lasting session for each subscriber, over all of his prefixes (trap T36).
        let session_id = format!("{}-{}", kind.label(), row.subscriber_id);
        let session = Session::new(kind, &row.subscriber_id, &session_id).map_err(|error| Fault {
            lines: vec![format!("{}:{}:1: {error}", path.display(), row.line)],
            unreadable: false,
        })?;
        sessions.push((row.prefix, session));
    }
    Ok(SubscriberTable::new(sessions))
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

/// The lists this node has accepted.
pub struct ListKeeper {
    /// Where their copies are kept.
    folder: PathBuf,
    /// The newest.
    newest: Option<Document>,
    /// The highest serial ever kept, also of a copy that cannot be read any more.
    serial_min: u64,
    /// All of them compiled, newest last.
    matchers: Vec<Arc<Matcher>>,
}

impl ListKeeper {
    /// Reads the copies in `state_dir`; what cannot be read is told and left out.
    pub fn open(state_dir: &Path, list: &config::List) -> (Self, Vec<Fault>) {
        let folder = state_dir.join("lists");
        let mut faults = Vec::new();
        let mut documents = Vec::new();
        let (copies, fault) = kept_copies(&folder);
        faults.extend(fault);
        let serial_min = copies.iter().filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).max();
        for path in copies {
            match read_list(&path, list) {
                Ok((document, _)) => documents.push(document),
                Err(fault) => faults.push(fault),
            }
        }
        let matchers = documents.iter().map(|document| Arc::new(Matcher::new(document))).collect();
        (Self { folder, newest: documents.pop(), serial_min: serial_min.unwrap_or(0), matchers }, faults)
    }

    /// Takes the list in `path` as the one in force, if nothing speaks against it, and keeps a copy.
    /// Ok(Some) when the copy could not be kept: the list is in force all the same.
    ///
    /// # Errors
    /// Every problem of the list; then the one in force stays.
    pub fn accept(&mut self, path: &Path, list: &config::List) -> Result<Option<Fault>, Fault> {
        let (document, text) = read_list(path, list)?;
        if document.serial() < self.serial_min {
            let message = format!(
                "found serial {}, wanted at least {}: this edition is older than one already accepted",
                document.serial(),
                self.serial_min
            );
            return Err(Fault::whole(path, &message));
        }
        if let Some(newest) = &self.newest {
            document.may_follow(newest).map_err(|error| {
                let remedy = format!(
                    "to start over with another list, stop the gateway and remove {}",
                    self.folder.display()
                );
                Fault::whole(path, &format!("{error}; {remedy}"))
            })?;
            if *newest == document {
                return Ok(None);
            }
        }
        self.matchers.push(Arc::new(Matcher::new(&document)));
        if self.matchers.len() > KEPT_LISTS_MAX {
            self.matchers.remove(0);
        }
        let kept = self.keep(document.serial(), &text);
        self.serial_min = document.serial();
        self.newest = Some(document);
        Ok(kept.err().map(|error| {
            let message = format!("the accepted list cannot be kept here: {error}; after a restart with a broken list file there is no last good one");
            Fault::whole(&self.folder, &message)
        }))
    }

    /// The list to judge by at `now`: the newest whose time has begun, so that a list can be published ahead of its date;
    /// the newest of all when none has begun.
    pub fn in_force(&self, now: Timestamp) -> Option<Arc<Matcher>> {
        let begun = self.matchers.iter().rev().find(|list| list.effective_from() <= now);
        begun.or_else(|| self.matchers.last()).cloned()
    }

    /// When the newest list was issued.
    pub fn issued(&self) -> Option<Timestamp> {
        self.newest.as_ref().map(|document| document.issued().instant())
    }

    /// All lists whose names steered mode carries.
    pub fn routes(&self) -> Vec<Arc<Matcher>> {
        self.matchers.clone()
    }

    /// Writes the copy whole or not at all, and removes copies over the limit.
    fn keep(&self, serial: u64, text: &str) -> io::Result<()> {
        // Closed to others, and so is the state directory above it where this comes before the ledger.
        fs::DirBuilder::new().recursive(true).mode(STATE_MODE).create(&self.folder)?;
        let part = self.folder.join("accepted.part");
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, self.folder.join(format!("{serial:020}.toml")))?;
        File::open(&self.folder)?.sync_all()?;
        let (copies, _) = kept_copies(&self.folder);
        let surplus = copies.len().saturating_sub(KEPT_LISTS_MAX);
        for path in copies.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// The copies in the order of their serials, and what keeps them from being read.
fn kept_copies(folder: &Path) -> (Vec<PathBuf>, Option<Fault>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), None),
        Err(error) => {
            let message = format!(
                "cannot be read: {error}; an older list could be taken for a new one: give the gateway's user read permission"
            );
            return (Vec::new(), Some(Fault::whole(folder, &message)));
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    (paths, None)
}

/// What a reload came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is wrong with the list; the last good one stays.
    pub list: Option<Fault>,
    /// What is wrong with the subscriber table; the last good one stays.
    pub subscribers: Option<Fault>,
    /// What else is worth a word.
    pub notes: Vec<Fault>,
}

/// Reads list and subscribers anew and publishes what is good, as one policy.
pub fn refresh(config: &Config, keeper: &mut ListKeeper, policy: &PolicyCell, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    match keeper.accept(&config.list.file, &config.list) {
        Ok(note) => outcome.notes.extend(note),
        Err(fault) => outcome.list = Some(fault),
    }
    let subscribers = match read_subscribers(config.subscribers.as_ref()) {
        Ok(table) => Some(Arc::new(table)),
        Err(fault) => {
            outcome.subscribers = Some(fault);
            None
        }
    };
    let rating = Arc::new(rating(config));
    let allowance = allowance(config).map_err(|problem| {
        outcome.notes.push(Fault {
            lines: vec![format!("allowance.zone: {problem}; the old limits stay")],
            unreadable: false,
        });
    });
    policy.update(|next| {
        next.list = keeper.in_force(now);
        next.routes = keeper.routes();
        next.rating = rating;
        if let Ok(allowance) = allowance {
            next.allowance = Arc::new(allowance);
        }
        if let Some(subscribers) = subscribers {
            next.subscribers = subscribers;
        }
    });
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
