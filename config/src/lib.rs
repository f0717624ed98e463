//! The gateway's configuration: text in, a typed [`Config`] or *every* problem out.
//!
//! Four parts. Each section of the file has its own file here with its struct, its keys, and its defaults and ranges as
//! named consts with their source. `reader`, `value` and `relation` walk the spanned TOML tree for them and gather the
//! problems with line and column. `contradictions` judges sections against each other, and `notes` says what is allowed and
//! yet worth a word. [`subscribers::parse`] reads the static subscriber table in the same spirit.
//!
//! Nothing is opened, looked up or clamped: unknown keys, wrong types, bare numbers where a unit is needed, values out
//! of range and keys that contradict each other are all refused, each with its place, what was found and what was
//! wanted. Whether files and folders exist is for the caller, who finds the place of a key with [`Config::place`].

pub mod admin;
pub mod allowance;
mod contradictions;
pub mod dns;
pub mod edge;
pub mod export;

mod key;
pub mod limits;
pub mod list;
pub mod listener;
pub mod local;
pub mod log;
pub mod lookup;
pub mod node;
mod notes;
mod problem;
mod quantity;
pub mod radius;
pub mod rating_group;
mod reader;
mod relation;
mod section;
pub mod sink;
mod subscriber_table;
pub mod subscribers;
pub mod trusted_answers;
pub mod upstream;
mod value;

pub use admin::Admin;
pub use allowance::Allowance;
pub use dns::Dns;
pub use edge::{Edge, Intercept, KernelPath};
pub use export::{ByteBasis, Export, Release};
pub use key::{Key, Need, SECTIONS, SectionKeys};
pub use limits::{FlowsMax, Limits, Quic};
pub use list::{List, Signatures};
pub use listener::{BalancerSocket, DatagramHeaders, Interception, Listener, Mode, Protocol};
pub use local::LocalSocket;
pub use log::{Format, Level, Log};
pub use lookup::Lookup;
pub use node::{Node, Workers};
pub use problem::{Place, Problem};
pub use radius::{AccountingKind, Octets, Radius, RadiusClient, Side};
pub use rating_group::{Disposition, RatingGroup, Services};
pub use sink::Sink;
pub use subscribers::Subscribers;
pub use trusted_answers::{StaticAnswer, TrustedAnswers};
pub use upstream::Upstream;

use contradictions::{judge_addresses, judge_folders, judge_kernel, judge_ports};
use reader::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Largest configuration, in bytes: thousands of rating groups fit, a log file given by mistake does not.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[node]`.
    pub node: Node,
    /// `[[listener]]` with an address, in the order of the file; one of these or of `sockets` at least.
    pub listeners: Vec<Listener>,
    /// `[[listener]]` with a socket, where balancers of this machine send a PROXY header.
    pub sockets: Vec<BalancerSocket>,
    /// `[list]`.
    pub list: List,
    /// `[subscribers]`; without it every flow is unattributed.
    pub subscribers: Option<Subscribers>,
    /// `[radius]`; without it nobody is heard.
    pub radius: Option<Radius>,
    /// `[export]`.
    pub export: Export,
    /// `[[sink]]`: further ways out for what `export` seals, in the order of the file.
    pub sinks: Vec<Sink>,
    /// `[[rating_group]]`: exactly one is for all services that no other names.
    pub rating_groups: Vec<RatingGroup>,
    /// `[allowance]`; without it exempt bytes have no limit.
    pub allowance: Option<Allowance>,
    /// `[upstream]`.
    pub upstream: Upstream,
    /// `[lookup]`.
    pub lookup: Lookup,
    /// `[trusted_answers]`.
    pub trusted_answers: TrustedAnswers,
    /// `[dns]`; without it there is no DNS plane.
    pub dns: Option<Dns>,
    /// `[edge]`.
    pub edge: Edge,
    /// `[limits]`.
    pub limits: Limits,
    /// `[admin]`.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
    /// What is allowed and yet worth a word to the operator, one sentence each.
    pub notes: Vec<String>,
    /// The file it was read from, for messages; empty where nobody has said.
    pub source: PathBuf,
    /// Where each stated section and key stands: `list.file`, `listener[1].address`.
    pub places: BTreeMap<String, Place>,
}

impl Config {
    /// Reads `text`; relative paths are joined to `base`, the folder of the configuration file. Opens nothing.
    ///
    /// # Errors
    /// Every problem of the text, in the order of their places. Problems that only follow from a line that is not valid
    /// TOML are left out.
    pub fn parse(text: &str, base: &Path) -> Result<Config, Vec<Problem>> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(vec![Problem {
                line: 1,
                column: 1,
                key: "configuration".to_owned(),
                found: format!("{} bytes", text.len()),
                wanted: format!("at most {TEXT_BYTES_MAX}"),
                remedy: Some("is this the configuration file?".to_owned()),
            }]);
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader::new(root.get_ref(), base);
        for error in &errors {
            reader.syntax(error);
        }
        let config = read(&mut reader);
        let (problems, places) = reader.finish(text);
        match config {
            Some(config) if problems.is_empty() => Ok(Config { places, ..config }),
            _ => Err(problems),
        }
    }

    /// Where a section or key stands in the text it was read from, if it is stated: `list.file`,
    /// `listener[1].address`, `trusted_answers.static[0].name`.
    pub fn place(&self, key: &str) -> Option<Place> {
        self.places.get(key).copied()
    }

    /// `file:line:column: key` as messages begin; of the nearest section where the key itself is not stated, else of the
    /// file's first character.
    pub fn at(&self, key: &str) -> String {
        let sections = key.char_indices().rev().filter(|(_, character)| *character == '.');
        let nearest = std::iter::once(key).chain(sections.filter_map(|(end, _)| key.get(..end)));
        let place = nearest.filter_map(|key| self.place(key)).next().unwrap_or(Place::START);
        format!("{}:{place}: {key}", self.source.display())
    }
}

impl Config {
    /// Rating groups whose bytes nobody takes off the bill: the key, what was found and what to do. `check` refuses them; a node
    /// that ran with them goes on, and says so.
    pub fn unmarked_groups(&self) -> impl Iterator<Item = (String, &'static str)> {
        let problem = "found \"tagged\" without dscp and fwmark; wanted one of them, for else the core sees no mark, and nobody \
                       takes these bytes off the bill; \"reported\" has billing subtract them";
        rating_group::unmarked(self)
            .map(move |number| (format!("rating_group[{number}].disposition"), problem))
    }

    /// What the kernel is to hold; none without a listener of interception "kernel".
    pub fn kernel_path(&self) -> Option<&KernelPath> {
        self.listeners.iter().any(|listener| !listener.listens()).then_some(&self.edge.kernel)
    }

    /// A key of the listener with this number in `listeners`, as the file counts: there those with a socket count too.
    pub fn listener_key(&self, number: usize, key: &str) -> String {
        let count = self.listeners.len().saturating_add(self.sockets.len());
        let stands = |one: &usize| self.place(&format!("listener[{one}].socket")).is_none();
        let in_file = (0..count).filter(stands).nth(number).unwrap_or(number);
        format!("listener[{in_file}].{key}")
    }

    /// Listeners whose peers nobody has stated, one sentence each: the default lets any account of this machine speak for any
    /// subscriber.
    pub fn local_peers(&self) -> Vec<String> {
        let stands = |number: usize, key: &str| self.place(&format!("listener[{number}].{key}")).is_some();
        let count = self.listeners.len().saturating_add(self.sockets.len());
        let at_addresses = (0..count).filter(|number| !stands(*number, "socket"));
        at_addresses
            .zip(&self.listeners)
            .filter(|(number, listener)| {
                listener.mode == Mode::ProxyProtocol && !stands(*number, "peers")
            })
            .map(|(number, _)| {
                format!(
                    "listener[{number}].peers: not stated, so that any account of this machine may speak for any subscriber (local_peers): state it, or let the balancer connect to a Unix socket (listener.socket)"
                )
            })
            .collect()
    }
}

/// Reads all sections; `None` when one of them could not be made (its problems are noted).
fn read(reader: &mut Reader<'_>) -> Option<Config> {
    let node = Node::read(reader);
    let listener::Listeners { at_addresses: listeners, sockets } = listener::read(reader);
    let list = List::read(reader);
    let subscribers = Subscribers::read(reader);
    let radius = Radius::read(reader);
    let node_id = node.as_ref().map_or("", |node| &node.id);
    let export = Export::read(reader, node_id, &listeners, !sockets.is_empty());
    let sinks = sink::read(reader, node.as_ref().map(|node| &*node.id));
    let edge = Edge::read(reader);
    let rating_groups = rating_group::read(reader, edge.divert_mark);
    let allowance = Allowance::read(reader);
    let upstream = Upstream::read(reader, steered_at(reader));
    let lookup = Lookup::read(reader);
    let trusted_answers = TrustedAnswers::read(reader);
    let dns = Dns::read(reader, &upstream.resolvers);
    let rows_max = subscribers.as_ref().map(|subscribers| subscribers.entries_max);
    let limits = Limits::read(reader, rows_max);
    let (admin, admin_address) = Admin::read(reader);
    let log = Log::read(reader);
    judge_addresses(reader, &listeners, &admin_address);
    judge_ports(reader, &listeners, &edge);
    judge_kernel(reader, &listeners, &edge, export.as_ref());
    if let (Some(node), Some(export)) = (&node, &export) {
        judge_folders(reader, node, export, &sinks);
    }
    let mut notes = notes::of_sections((subscribers.as_ref(), radius.as_ref()), &upstream, &admin);
    notes.extend(dns.iter().flat_map(|dns| notes::of_steering(dns, &listeners)));
    notes.extend(notes::of_named_subscribers(&listeners));
    notes.extend(rating_group::unseen_marks(&rating_groups, &listeners));
    let (node, list, export) = (node?, list?, export?.export);
    let sinks = sinks.into_iter().map(|placed| placed.sink).collect();
    let (source, places) = (PathBuf::new(), BTreeMap::new());
    Some(Config {
        node,
        listeners,
        sockets,
        list,
        subscribers,
        radius,
        export,
        sinks,
        rating_groups,
        allowance,
        upstream,
        lookup,
        trusted_answers,
        dns,
        edge,
        limits,
        admin,
        log,
        notes,
        source,
        places,
    })
}

/// Byte offset of the first steered listener, however wrong it is otherwise.
fn steered_at(reader: &Reader<'_>) -> Option<usize> {
    let array = reader.root().get("listener")?.get_ref().as_array()?;
    let steered = array
        .iter()
        .find(|one| one.get_ref().get("mode").and_then(|mode| mode.get_ref().as_str()) == Some("steered"));
    steered.map(|one| one.span().start)
}
