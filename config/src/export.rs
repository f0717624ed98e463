//! `[export]`: where usage files are put for billing, how often they are sealed, how much is kept.

use crate::edge::interfaces;
use crate::key::Key;
use crate::listener::{Listener, Mode};
use crate::quantity::show_duration;
use crate::reader::{Mismatch, Reader};
use crate::section::{Found, Section, Stated};
use crate::value::path_text;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The keys of `[export]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("export", "dir"),
    Key::defaulted("export", "staging_dir"),
    Key::defaulted("export", "period"),
    Key::defaulted("export", "checkpoint"),
    Key::defaulted("export", "unsaved_max"),
    Key::defaulted("export", "accounts_max"),
    Key::defaulted("export", "file_records_max"),
    Key::defaulted("export", "byte_basis"),
    Key::defaulted("export", "retry_max"),
    Key::defaulted("export", "delivery_max"),
    Key::defaulted("export", "egress_interfaces"),
    Key::defaulted("export", "release"),
    Key::defaulted("export", "watermark_file"),
    Key::defaulted("export", "retention"),
];

/// Length of a period (15 minutes, aligned to UTC).
pub const PERIOD_DEFAULT: Duration = Duration::from_secs(900);
/// A day: periods are aligned to UTC, so a period divides it.
const DAY: Duration = Duration::from_secs(86_400);
/// Range of `period`.
pub const PERIOD_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;
/// Time between checkpoints (decision 17: every second).
pub const CHECKPOINT_DEFAULT: Duration = Duration::from_secs(1);
/// Range of `checkpoint`: what a crash may cost.
pub const CHECKPOINT_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10);
/// How long counts may go unsaved before exemption stops (a doubt is charged).
pub const UNSAVED_MAX_DEFAULT: Duration = Duration::from_secs(600);
/// Range of `unsaved_max`.
pub const UNSAVED_MAX_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;
/// Most counters in memory at once: some 300 bytes each.
pub const ACCOUNTS_MAX_DEFAULT: usize = 1_000_000;
/// Range of `accounts_max`.
pub const ACCOUNTS_MAX_RANGE: RangeInclusive<usize> = 1..=100_000_000;
/// Most records of one usage file: some 200 bytes each.
pub const FILE_RECORDS_MAX_DEFAULT: u32 = 1_000_000;
/// Range of `file_records_max`.
pub const FILE_RECORDS_MAX_RANGE: RangeInclusive<u32> = 1..=100_000_000;
/// Longest pause between two tries of a sink that fails: the pause doubles from a second up to this.
pub const RETRY_MAX_DEFAULT: Duration = Duration::from_secs(30);
/// How long one file may take at a sink before that is told.
pub const DELIVERY_MAX_DEFAULT: Duration = Duration::from_secs(30);
/// Range of `retry_max` and `delivery_max`.
pub const RETRY_MAX_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// How long sealed records stay in the state at least: billing systems ask again for as long.
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(35 * 86_400);
/// Range of `retention`.
pub const RETENTION_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(3_600)..=Duration::from_secs(3_660 * 86_400);
/// Folder of the watermarks that billing's ledger writes, by default.
pub const WATERMARK_DIR: &str = "watermarks";
/// What the staging folder's name adds to that of the pickup folder.
pub const STAGING_SUFFIX: &str = ".staging";

/// What lets records leave, as written.
const RELEASES: [(&str, Release); 2] = [("none", Release::None), ("watermark-file", Release::WatermarkFile)];

/// The bases as written.
const BASES: [(&str, ByteBasis); 2] = [("ip", ByteBasis::Ip), ("payload", ByteBasis::Payload)];

/// `[export]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Pickup folder: complete files for billing.
    pub dir: PathBuf,
    /// Folder on the same file system where files grow.
    pub staging_dir: PathBuf,
    /// Length of a period; divides 24 hours.
    pub period: Duration,
    /// Time between checkpoints.
    pub checkpoint: Duration,
    /// How long counts may go unsaved before exemption stops.
    pub unsaved_max: Duration,
    /// Most counters at once; more is charged with reason `overload`.
    pub accounts_max: usize,
    /// Most records of one usage file.
    pub file_records_max: u32,
    /// Longest pause between two tries of a sink that fails.
    pub retry_max: Duration,
    /// How long a sink may be at one file; then it is told as standing still.
    pub delivery_max: Duration,
    /// What is counted.
    pub byte_basis: ByteBasis,
    /// Interfaces by which packets leave towards subscribers, with the devices below them, as names and patterns with `*` at their
    /// end; none: all of the machine. What others drop is taken from nobody's count.
    pub egress_interfaces: Vec<String>,
    /// What lets sealed records leave the state.
    pub release: Release,
    /// Where billing's ledger says how far it is.
    pub watermark_file: PathBuf,
    /// How long sealed records stay at least.
    pub retention: Duration,
}

/// What lets sealed records leave the state (decision 18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Nothing: they stay for ever.
    None,
    /// The watermark of billing's ledger, in a file.
    WatermarkFile,
}

/// What is counted (decision 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteBasis {
    /// IP packets with their headers, as the operator's meter counts them.
    Ip,
    /// What the packets carry for the application.
    Payload,
}

/// `[export]` with the places its folders stand at, for the comparison with other folders.
pub(crate) struct Placed {
    /// The section.
    pub(crate) export: Export,
    /// Byte offset of `dir`.
    pub(crate) dir_at: usize,
    /// Byte offset of `staging_dir`, or of the section when the default stands.
    pub(crate) staging_at: usize,
}

impl Export {
    /// Reads `[export]`; `None` when a required key is missing or wrong (noted).
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        node_id: &str,
        listeners: &[Listener],
        has_sockets: bool,
    ) -> Option<Placed> {
        let section = reader.section("export");
        section.required_here(reader);
        let dir = section.required_path(reader, "dir");
        let staging = section.read(reader, "staging_dir", path_text);
        let period = section.duration(reader, "period", PERIOD_DEFAULT, PERIOD_RANGE);
        let checkpoint = section.duration(reader, "checkpoint", CHECKPOINT_DEFAULT, CHECKPOINT_RANGE);
        let unsaved_max = section.duration(reader, "unsaved_max", UNSAVED_MAX_DEFAULT, UNSAVED_MAX_RANGE);
        let accounts_max =
            section.count(reader, "accounts_max", ACCOUNTS_MAX_DEFAULT, ACCOUNTS_MAX_RANGE).value;
        let file_records_max =
            section.count(reader, "file_records_max", FILE_RECORDS_MAX_DEFAULT, FILE_RECORDS_MAX_RANGE).value;
        let byte_basis = byte_basis(reader, &section, listeners, has_sockets);
        let retry_max = section.duration(reader, "retry_max", RETRY_MAX_DEFAULT, RETRY_MAX_RANGE).value;
        let delivery_max =
            section.duration(reader, "delivery_max", DELIVERY_MAX_DEFAULT, RETRY_MAX_RANGE).value;
        let egress_interfaces = interfaces(reader, &section, "egress_interfaces");
        let release = section.word(reader, "release", &RELEASES, Release::None).value;
        let watermark_file = match section.read(reader, "watermark_file", path_text) {
            Found::Is(text, _) => reader.join(&text),
            Found::Absent | Found::Wrong(_) => reader.join(&format!("{WATERMARK_DIR}/{node_id}.json")),
        };
        let retention = section.duration(reader, "retention", RETENTION_DEFAULT, RETENTION_RANGE).value;
        judge_times(reader, &period, &checkpoint, &unsaved_max);
        let (dir, dir_at) = dir?;
        let (staging_dir, staging_at) = match staging {
            Found::Is(text, at) => (reader.join(&text), at),
            Found::Absent | Found::Wrong(_) => {
                // A trailing slash or `/.` is no part of a name: collecting the components drops both.
                let mut beside: PathBuf = dir.components().collect();
                beside.as_mut_os_string().push(STAGING_SUFFIX);
                (beside, section.at)
            }
        };
        let export = Export {
            dir,
            staging_dir,
            period: period.value,
            checkpoint: checkpoint.value,
            unsaved_max: unsaved_max.value,
            accounts_max,
            file_records_max,
            retry_max,
            delivery_max,
            byte_basis,
            egress_interfaces,
            release,
            watermark_file,
            retention,
        };
        Some(Placed { export, dir_at, staging_at })
    }
}

/// What is counted: IP bytes, unless a balancer stands between the subscribers and a listener. Its connections are not the
/// subscribers' own, so their headers say nothing.
fn byte_basis<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    listeners: &[Listener],
    has_sockets: bool,
) -> ByteBasis {
    let proxied = listeners.iter().position(|listener| listener.mode == Mode::ProxyProtocol);
    let proxied = proxied.map(|index| format!("listener[{index}], whose mode is \"proxy_protocol\""));
    let proxied = proxied.or_else(|| has_sockets.then(|| "a listener with a socket".to_owned()));
    let default = if proxied.is_some() { ByteBasis::Payload } else { ByteBasis::Ip };
    let basis = section.word(reader, "byte_basis", &BASES, default);
    if let (Some(proxied), ByteBasis::Ip, true) = (proxied, basis.value, basis.sound) {
        let found = format!("\"ip\" beside {proxied}");
        let remedy = "the leg behind the balancer is not the subscriber's: write \"payload\", or give that listener a node of its own";
        reader.wrong("export.byte_basis", basis.at, Mismatch::new(found, "\"payload\"").remedy(remedy));
    }
    basis.value
}

/// Relations between the times: the period divides the day, a checkpoint fits in both of the others.
fn judge_times(
    reader: &mut Reader<'_>,
    period: &Stated<Duration>,
    checkpoint: &Stated<Duration>,
    unsaved_max: &Stated<Duration>,
) {
    let divides = DAY.as_millis().checked_rem(period.value.as_millis()) == Some(0);
    if period.sound && !divides {
        let fault = Mismatch::new(show_duration(period.value), "a length that divides 24 h without rest");
        reader.wrong("export.period", period.at, fault.remedy("such as \"15 min\", \"20 min\", \"1 h\""));
    }
    crate::relation::at_least(
        reader,
        ("export.period", period),
        ("export.checkpoint", checkpoint),
        show_duration,
    );
    crate::relation::at_least(
        reader,
        ("export.unsaved_max", unsaved_max),
        ("export.checkpoint", checkpoint),
        show_duration,
    );
}
