//! The lines of `classify`: one flow each, as a table, JSON lines or CSV. Others read them: keys and their order stay.

use std::io::{self, Write};
use std::net::IpAddr;

use allowlist::{Matcher, Transport};
use jiff::Timestamp;
use serde::Serialize;

use super::answers::Evidence;
use crate::flow::binding::Nat64;
use crate::flow::decide::{Case, Vouched, decide};
use crate::flow::identify::SeenIn;
use crate::flow::packets::flow::Finished;

/// How lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// One JSON object per line.
    Jsonl,
    /// RFC 4180 with a header line.
    Csv,
}

/// The keys, in order.
const KEYS: [&str; 12] = [
    "file",
    "protocol",
    "client",
    "server",
    "seen_in",
    "name",
    "class",
    "basis",
    "reason",
    "rule",
    "up_bytes",
    "down_bytes",
];
/// Lines that a table looks at to find how wide its columns are; later lines may stand out.
const TABLE_LINES_MAX: usize = 1_000;
/// What a table shows where there is nothing.
const NOTHING: &str = "-";

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    file: String,
    protocol: &'static str,
    client: String,
    server: String,
    seen_in: Option<&'static str>,
    name: Option<String>,
    class: &'static str,
    basis: Option<&'static str>,
    reason: Option<&'static str>,
    rule: Option<String>,
    up_bytes: u64,
    down_bytes: u64,
    /// Encapsulations, outermost first, joined by `/`; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<String>,
}

/// What every flow is judged by.
pub struct Judge {
    /// The list.
    pub list: Matcher,
    /// Take every address as vouched for.
    pub names_only: bool,
    /// The instant that dates are compared with.
    pub at: Option<Timestamp>,
    /// Whose answers are trusted; none: any server on port 53.
    pub resolvers: Vec<IpAddr>,
    /// Learn answers in private space too: captures of laboratories.
    pub allow_private: bool,
}

impl Judge {
    /// The line of a flow of `file`.
    pub(super) fn line(&self, file: &str, flow: &Finished<Evidence>) -> Line {
        let case = Case {
            identity: &flow.identity,
            transport: flow.transport,
            address: Some(Nat64::default().destination(flow.server.ip())),
            port: flow.server.port(),
            vouched: if self.names_only || flow.notes.vouched == Some(true) {
                Vouched::Yes
            } else {
                Vouched::No
            },
            dns_only: flow.notes.dns_only(flow.client_is_first),
            at: self.at,
        };
        // Where not even the ports are sure, no rule of the list is asked: an address rule needs them.
        let list = if flow.contradictory { None } else { Some(&self.list) };
        let verdict = decide(list, &case).into_verdict();
        Line {
            file: file.to_owned(),
            protocol: match flow.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            },
            client: flow.client.to_string(),
            server: flow.server.to_string(),
            seen_in: flow.identity.seen_in.map(SeenIn::label),
            name: flow.identity.name.as_ref().map(|name| name.as_str().to_owned()),
            class: verdict.class_label(),
            basis: verdict.basis().map(|basis| basis.label()),
            reason: verdict.reason().map(|reason| reason.label()),
            rule: verdict.rule.as_ref().map(ToString::to_string),
            up_bytes: flow.up_bytes,
            down_bytes: flow.down_bytes,
            tunnel: (!flow.layers.is_empty()).then(|| flow.layers.to_string()),
        }
    }
}

impl Line {
    /// The values as a table shows them: tunnels stand beside the protocol.
    fn row(&self) -> [String; 12] {
        let mut values = self.values(NOTHING);
        if let (Some(tunnel), [_, protocol, ..]) = (&self.tunnel, &mut values) {
            *protocol = format!("{protocol} ({tunnel})");
        }
        values
    }

    /// The values in the order of [`KEYS`], `nothing` for null.
    fn values(&self, nothing: &'static str) -> [String; 12] {
        let or = |value: Option<&str>| value.unwrap_or(nothing).to_owned();
        [
            self.file.clone(),
            self.protocol.to_owned(),
            self.client.clone(),
            self.server.clone(),
            or(self.seen_in),
            or(self.name.as_deref()),
            self.class.to_owned(),
            or(self.basis),
            or(self.reason),
            or(self.rule.as_deref()),
            self.up_bytes.to_string(),
            self.down_bytes.to_string(),
        ]
    }
}

/// Prints lines in one format.
pub struct Printer<W: Write> {
    out: W,
    format: Format,
    /// Widths of a table's columns, once fixed.
    widths: Option<[usize; 12]>,
    /// Lines of a table that wait for the widths.
    waiting: Vec<[String; 12]>,
}

impl<W: Write> Printer<W> {
    /// Prints to `out`, beginning with the header where the format has one.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, format: Format) -> io::Result<Self> {
        if format == Format::Csv {
            write_csv(&mut out, KEYS)?;
        }
        Ok(Self { out, format, widths: None, waiting: Vec::new() })
    }

    /// Prints a line, or keeps it until a table's widths are known.
    pub(super) fn line(&mut self, line: &Line) -> io::Result<()> {
        match self.format {
            Format::Jsonl => {
                serde_json::to_writer(&mut self.out, line)?;
                self.out.write_all(b"\n")
            }
            Format::Csv => write_csv(&mut self.out, line.values("")),
            Format::Table => match &self.widths {
                Some(widths) => write_row(&mut self.out, widths, &line.row()),
                None => {
                    self.waiting.push(line.row());
                    if self.waiting.len() >= TABLE_LINES_MAX { self.settle_widths() } else { Ok(()) }
                }
            },
        }
    }

    /// Hands what can be printed to the operating system: somebody reads along.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.format == Format::Table && self.widths.is_none() && !self.waiting.is_empty() {
            self.settle_widths()?;
        }
        self.out.flush()
    }

    /// Prints what waits and hands everything to the operating system.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<()> {
        if self.format == Format::Table && self.widths.is_none() {
            self.settle_widths()?;
        }
        self.out.flush()
    }

    /// Fixes the widths of a table's columns by the lines that wait, and prints header and lines.
    fn settle_widths(&mut self) -> io::Result<()> {
        let header = KEYS.map(str::to_owned);
        let mut widths = [0_usize; 12];
        for row in core::iter::once(&header).chain(&self.waiting) {
            for (width, value) in widths.iter_mut().zip(row) {
                *width = (*width).max(value.chars().count());
            }
        }
        write_row(&mut self.out, &widths, &header)?;
        for row in core::mem::take(&mut self.waiting) {
            write_row(&mut self.out, &widths, &row)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

/// Writes one record.
fn write_csv<const N: usize>(out: &mut impl Write, values: [impl AsRef<[u8]>; N]) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(values)?;
    writer.flush()
}

/// Writes one row of a table: numbers to the right, the rest to the left, nothing behind the last column.
fn write_row(out: &mut impl Write, widths: &[usize; 12], row: &[String; 12]) -> io::Result<()> {
    let last = widths.len().saturating_sub(1);
    for (column, (value, width)) in row.iter().zip(widths).enumerate() {
        let shown = printable(value);
        if column.saturating_add(2) > last {
            write!(out, "{shown:>width$}")?;
        } else {
            write!(out, "{shown:<width$}")?;
        }
        out.write_all(if column == last { b"\n" } else { b"  " })?;
    }
    Ok(())
}

/// A value with control characters replaced: file names are free to hold any, and a terminal obeys them.
fn printable(value: &str) -> String {
    value.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
