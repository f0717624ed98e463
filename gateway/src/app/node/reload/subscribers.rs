//! The subscriber table: read, judged, and held back while it is much smaller than the one in force.

use billing_export::{Session, SubscriberType};
use config::{Config, Subscribers};
use ipnet::IpNet;

use super::{InputFault, named_by, read_text};

/// The rows of a table.
type Rows = Vec<(IpNet, Session)>;

/// Reads and judges the table of a configuration; empty where it has none.
///
/// # Errors
/// Every problem with its place; never an id or a prefix.
pub fn read(config: &Config) -> Result<Rows, InputFault> {
    let Some(subscribers) = &config.subscribers else { return Ok(Rows::new()) };
    text(config, subscribers).and_then(|text| judge(subscribers, &text))
}

/// The same for a node whose table in force names `held` prefixes: one that is much smaller is not taken before somebody has
/// said that it is meant. A table cut off at a full disk costs thousands of pupils their exemption otherwise.
///
/// # Errors
/// As of [`read`], and that the table waits.
pub(super) fn renew(config: &Config, held: usize) -> Result<Rows, InputFault> {
    let Some(subscribers) = &config.subscribers else { return Ok(Rows::new()) };
    let text = text(config, subscribers)?;
    let table = judge(subscribers, &text)?;
    let percent = usize::from(subscribers.hold_removed_percent);
    let removed = held.saturating_sub(table.len());
    if removed.saturating_mul(100) <= held.saturating_mul(percent) {
        return Ok(table);
    }
    let hash = allowlist::sha256(text.as_bytes());
    if subscribers.accept_sha256.contains(&hash) {
        return Ok(table);
    }
    let message = format!(
        "found {} prefixes where {held} are in force, more than {percent} % fewer (subscribers.hold_removed_percent); if that is meant: [subscribers] accept_sha256 = [\"{hash}\"], and reload",
        table.len()
    );
    Err(InputFault::whole(&subscribers.file, &message))
}

/// The text of the table.
fn text(config: &Config, subscribers: &Subscribers) -> Result<String, InputFault> {
    read_text(&subscribers.file, subscribers.size_max, "subscribers.size_max")
        .map_err(|fault| named_by(config, "subscribers.file", fault))
}

/// The table of a text.
fn judge(subscribers: &Subscribers, text: &str) -> Result<Rows, InputFault> {
    let path = &subscribers.file;
    let rows = config::subscribers::parse(text, subscribers.size_max, subscribers.entries_max).map_err(
        |problems| InputFault {
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
        let session = Session::new(kind, &row.subscriber_id, &session_id).map_err(|error| InputFault {
            lines: vec![format!("{}:{}:1: {error}", path.display(), row.line)],
            unreadable: false,
        })?;
        sessions.push((row.prefix, session));
    }
    Ok(sessions)
}
