//! The collector's configuration: text in, [`Config`] or the first mistake with its line out. Pure.
//!
//! Unknown keys, wrong types, bare numbers where a unit is wanted and values out of range are refused, each with its place,
//! what was found and what was wanted. Relative paths stand beside the file.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;
use toml::Spanned;

use super::allowance::Allowances;
use crate::quantity;

/// Longest configuration read, in bytes.
pub const TEXT_LEN_MAX: usize = 1 << 20;
/// Most sources.
pub const SOURCES_MAX: usize = 64;
/// Longest name of a schema: PostgreSQL cuts longer identifiers (NAMEDATALEN − 1).
const SCHEMA_LEN_MAX: usize = 63;
/// How long partitions are kept where `retention` is not given.
const RETENTION_DEFAULT: Duration = Duration::from_secs(400 * DAY_SECONDS);
/// How often a folder is looked at where `poll` is not given.
const POLL_DEFAULT: Duration = Duration::from_secs(5);
/// Length of a lease where `duration` is not given.
const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// Seconds of a day.
const DAY_SECONDS: u64 = 86_400;

/// What the collector is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[ledger]`.
    pub ledger: Ledger,
    /// `[[source]]`: 1 to [`SOURCES_MAX`].
    pub sources: Vec<Source>,
    /// `[watermark] dir`.
    pub watermark_dir: Option<PathBuf>,
    /// `[lease] duration`: of a node's name, where gateways deliver over NATS.
    pub lease: Duration,
    /// `[admin] address`.
    pub admin: Option<SocketAddr>,
    /// `[allowance]` of the gateways, for statements.
    pub allowance: Option<Allowances>,
}

/// `[ledger]`.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// How the database is reached: never printed, it may hold a password.
    pub connection: Box<postgres::Config>,
    /// The schema of all tables.
    pub schema: String,
    /// The zone of local days, by its name in the IANA database.
    pub zone_name: String,
    /// The same.
    pub zone: TimeZone,
    /// How many days of records are kept.
    pub retention_days: u32,
    /// File with the password.
    pub password_file: Option<PathBuf>,
}

/// `[[source]]` of kind `files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The folder.
    pub dir: PathBuf,
    /// What becomes of files that are taken.
    pub done: Done,
    /// How often it is looked at.
    pub poll: Duration,
}

/// What becomes of files that are taken or known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// They stay.
    Keep,
    /// They are removed.
    Delete,
    /// They are moved to this folder.
    Move(PathBuf),
}

/// A mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Line, from 1.
    pub line: usize,
    /// Key, what was found, what was wanted.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

impl std::error::Error for ConfigError {}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// `[ledger]`.
    ledger: LedgerText,
    /// `[[source]]`.
    source: Spanned<Vec<SourceText>>,
    /// `[watermark]`.
    watermark: Option<WatermarkText>,
    /// `[lease]`.
    lease: Option<LeaseText>,
    /// `[admin]`.
    admin: Option<AdminText>,
    /// `[allowance]`.
    allowance: Option<Spanned<Allowances>>,
}

/// `[ledger]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerText {
    /// How the database is reached.
    url: Spanned<String>,
    /// The schema.
    schema: Option<Spanned<String>>,
    /// The zone.
    zone: Spanned<String>,
    /// How long partitions are kept.
    retention: Option<Spanned<String>>,
    /// File with the password.
    password_file: Option<PathBuf>,
}

/// `[[source]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceText {
    /// `files` or `nats`.
    kind: Spanned<String>,
    /// The folder.
    dir: Option<PathBuf>,
    /// What becomes of files.
    done: Option<String>,
    /// How often it is looked at.
    poll: Option<Spanned<String>>,
    /// Of `nats`: said to be known, so that its refusal is about the kind.
    url: Option<toml::Value>,
    /// Of `nats`.
    stream: Option<toml::Value>,
    /// Of `nats`.
    consumer: Option<toml::Value>,
    /// Of `nats`.
    credentials_file: Option<toml::Value>,
}

/// `[watermark]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatermarkText {
    /// The folder.
    dir: PathBuf,
}

/// `[lease]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseText {
    /// Its length.
    duration: Spanned<String>,
}

/// `[admin]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminText {
    /// Where it listens.
    address: Spanned<String>,
}

/// The text with what its mistakes need.
struct Reader<'t> {
    /// The whole text.
    text: &'t str,
    /// The folder it stands in.
    beside: &'t Path,
}

impl Config {
    /// The configuration of a text that stands in the folder `beside`.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn parse(text: &str, beside: &Path) -> Result<Config, ConfigError> {
        let reader = Reader { text, beside };
        if text.len() > TEXT_LEN_MAX {
            let found = format!("found {} bytes, wanted at most {TEXT_LEN_MAX}", text.len());
            return Err(ConfigError { line: 1, text: found });
        }
        let raw: Text = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            reader.wrong(at, error.message().trim().replace('\n', ", "))
        })?;
        let found = raw.source.get_ref().len();
        if !(1..=SOURCES_MAX).contains(&found) {
            let text = format!("source: found {found} of them, wanted 1 to {SOURCES_MAX}");
            return Err(reader.wrong(raw.source.span().start, text));
        }
        let sources = raw.source.into_inner().into_iter().map(|source| reader.source(source));
        let sources = sources.collect::<Result<Vec<Source>, ConfigError>>()?;
        let address = raw.admin.map(|admin| {
            let wanted = "an address with a port, such as \"127.0.0.1:9465\"";
            admin
                .address
                .get_ref()
                .parse()
                .map_err(|_| reader.refuse("admin.address", &admin.address, wanted))
        });
        let allowance =
            raw.allowance.map(|allowance| reader.allowance(allowance, &raw.ledger.zone)).transpose()?;
        let lease = raw.lease.map(|lease| reader.duration("lease.duration", &lease.duration)).transpose()?;
        Ok(Config {
            ledger: reader.ledger(raw.ledger)?,
            sources,
            watermark_dir: raw.watermark.map(|watermark| reader.beside.join(watermark.dir)),
            lease: lease.unwrap_or(LEASE_DEFAULT),
            admin: address.transpose()?,
            allowance,
        })
    }
}

impl Reader<'_> {
    /// The mistake at a byte of the text.
    fn wrong(&self, at: usize, text: String) -> ConfigError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
        ConfigError { line, text }
    }

    /// The mistake of a value.
    fn refuse(&self, key: &str, value: &Spanned<String>, wanted: &str) -> ConfigError {
        self.wrong(value.span().start, format!("{key}: found {:?}, wanted {wanted}", value.get_ref()))
    }

    /// A length of time above 0.
    fn duration(&self, key: &str, value: &Spanned<String>) -> Result<Duration, ConfigError> {
        let found = quantity::duration(value.get_ref()).filter(|duration| !duration.is_zero());
        found.ok_or_else(|| self.refuse(key, value, quantity::DURATION_FORM))
    }

    /// `[allowance]`: its days are the ledger's, or nothing can be said of them.
    fn allowance(&self, raw: Spanned<Allowances>, zone: &Spanned<String>) -> Result<Allowances, ConfigError> {
        if raw.get_ref().zone == *zone.get_ref() {
            return Ok(raw.into_inner());
        }
        let (found, wanted) = (&raw.get_ref().zone, zone.get_ref());
        let text =
            format!("allowance.zone: found {found:?}, wanted {wanted:?}, in which the ledger counts days");
        Err(self.wrong(raw.span().start, text))
    }

    /// `[ledger]`.
    fn ledger(&self, raw: LedgerText) -> Result<Ledger, ConfigError> {
        let at = raw.url.span().start;
        // The value is not repeated: it may hold a password.
        let connection: postgres::Config = raw.url.get_ref().parse().map_err(|error: postgres::Error| {
            let cause =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            self.wrong(
                at,
                format!(
                    "ledger.url: wanted postgresql://USER@HOST:PORT/DATABASE, or host=FOLDER user=…: {cause}"
                ),
            )
        })?;
        if connection.get_hosts().is_empty() {
            let text = "ledger.url: found no host, wanted one, or the folder of a socket as host=".to_owned();
            return Err(self.wrong(at, text));
        }
        if connection.get_ssl_mode() == postgres::config::SslMode::Require {
            let text = "ledger.url: found sslmode=require, wanted a ledger on this machine or in a network of its own: this \
                        version speaks without TLS; reach a distant one through a tunnel";
            return Err(self.wrong(at, text.to_owned()));
        }
        let schema = match raw.schema {
            None => "zrgw".to_owned(),
            Some(schema) if is_identifier(schema.get_ref()) => schema.into_inner(),
            Some(schema) => {
                let wanted = "[a-z_][a-z0-9_]*, at most 63 characters, and not pg_…";
                return Err(self.refuse("ledger.schema", &schema, wanted));
            }
        };
        let zone = TimeZone::get(raw.zone.get_ref()).map_err(|_| {
            self.refuse("ledger.zone", &raw.zone, "a name of the IANA database, such as \"Asia/Almaty\"")
        })?;
        let zone_name = zone.iana_name().unwrap_or(raw.zone.get_ref()).to_owned();
        let retention = match &raw.retention {
            None => RETENTION_DEFAULT,
            Some(retention) => self.duration("ledger.retention", retention)?,
        };
        let days = retention.as_secs().checked_div(DAY_SECONDS).and_then(|days| u32::try_from(days).ok());
        let whole = days
            .filter(|days| Duration::from_secs(u64::from(*days).saturating_mul(DAY_SECONDS)) == retention);
        let retention_days = match (whole, &raw.retention) {
            (Some(days), _) => days,
            (None, Some(retention)) => {
                return Err(self.refuse("ledger.retention", retention, "whole days, such as \"400 d\""));
            }
            (None, None) => u32::MAX,
        };
        let password_file = raw.password_file.map(|path| self.beside.join(path));
        Ok(Ledger {
            connection: Box::new(connection),
            schema,
            zone_name,
            zone,
            retention_days,
            password_file,
        })
    }

    /// One `[[source]]`.
    fn source(&self, raw: SourceText) -> Result<Source, ConfigError> {
        let at = raw.kind.span().start;
        match raw.kind.get_ref().as_str() {
            "files" => {}
            "nats" => {
                let text = "source.kind: found \"nats\", wanted \"files\": this version of billing-export reads files; have the \
                            gateways write them ([export] dir), or take a version with the NATS source";
                return Err(self.wrong(at, text.to_owned()));
            }
            _ => return Err(self.refuse("source.kind", &raw.kind, "\"files\"")),
        }
        let of_nats = [("url", &raw.url), ("stream", &raw.stream), ("consumer", &raw.consumer)];
        let mut of_nats = of_nats.into_iter().chain([("credentials_file", &raw.credentials_file)]);
        if let Some((key, _)) = of_nats.find(|(_, value)| value.is_some()) {
            return Err(
                self.wrong(at, format!("source.{key}: found it with kind \"files\", which has no such key"))
            );
        }
        let Some(dir) = raw.dir else {
            return Err(
                self.wrong(at, "source.dir: found none, wanted the folder with usage files".to_owned())
            );
        };
        let done = match raw.done.as_deref() {
            None | Some("keep") => Done::Keep,
            Some("delete") => Done::Delete,
            Some("") => {
                let text = "source.done: found \"\", wanted \"keep\", \"delete\" or a folder".to_owned();
                return Err(self.wrong(at, text));
            }
            Some(folder) => Done::Move(self.beside.join(folder)),
        };
        let poll = match &raw.poll {
            None => POLL_DEFAULT,
            Some(poll) => self.duration("source.poll", poll)?,
        };
        let dir = self.beside.join(dir);
        if done == Done::Move(dir.clone()) {
            let text =
                "source.done: found the folder of the source itself, wanted another, or \"keep\"".to_owned();
            return Err(self.wrong(at, text));
        }
        Ok(Source { dir, done, poll })
    }
}

/// Whether a word can stand as the name of a schema without quotes.
fn is_identifier(text: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    text.len() <= SCHEMA_LEN_MAX
        && text.starts_with(first)
        && !text.starts_with("pg_")
        && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
