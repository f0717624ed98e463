//! `gateway explain`: would it be free, and why; by the same decision as the daemon's.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use allowlist::{DomainName, Matcher, Transport};
use jiff::Timestamp;
use serde::Serialize;

use super::check::{Format, ListSource, list_source};
use crate::app::node::lists::read_by_itself;
use crate::app::{EXIT_CONFIG, EXIT_IO, EXIT_USAGE};
use crate::flow::binding::Nat64;
use crate::flow::decide::{Case, Decision, Vouched, decide};
use crate::flow::identify::{Identity, SeenIn};
use crate::flow::verdict::{Outcome, Verdict};

/// Exit code: the answer is no.
const EXIT_CHARGED: u8 = 1;

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway explain bilimland.kz --list list.toml
  gateway explain білім.қаз --config /etc/zrgw/gateway.toml --at 2020-05-01T00:00:00+06:00
  gateway explain zoom.us --address 203.0.113.7 --port 8801 --list list.toml --format json

With --config the dates of list and rules are compared with the present, as a node does. Without --address the address
counts as vouched for. With it, address rules and the trusted answers that the configuration states are looked at; what the
operator's resolvers answered a running node is not known here, and the answer says so where it depends on that. Exit codes: 0 exempt, 1 charged, 2 wrong use, 74 or 78 the list cannot be used.";

/// Would a connection to NAME be free, and why?
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Host name, in Latin or its own letters
    pub name: String,
    /// Destination address
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Destination port; 443, or 80 for http
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// What carries the name
    #[arg(long, value_enum, default_value_t = Protocol::Tls)]
    pub protocol: Protocol,
    /// Compare the dates of list and rules with this time (RFC 3339); without it, with the present for --config, and every
    /// date counts as met for --list
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Plain)]
    pub format: Format,
    /// The list to judge by
    #[command(flatten)]
    pub source: ListFrom,
}

/// Where the list comes from.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct ListFrom {
    /// List document
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// Configuration whose list is used
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What carries the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// TLS over TCP.
    Tls,
    /// QUIC over UDP.
    Quic,
    /// HTTP/1 over TCP.
    Http,
}

/// The keys of `classify`, for one case.
#[derive(Serialize)]
struct Answer<'a> {
    file: Option<&'a str>,
    protocol: &'static str,
    client: Option<&'a str>,
    server: Option<String>,
    seen_in: Option<&'static str>,
    name: Option<&'a str>,
    class: &'static str,
    basis: Option<&'static str>,
    reason: Option<&'static str>,
    rule: Option<&'a str>,
    up_bytes: Option<u64>,
    down_bytes: Option<u64>,
    /// What a running node knows and this answer would depend on.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_known: Option<&'static str>,
}

/// What the answer is made from.
struct Known {
    list: Arc<Matcher>,
    /// Trusted answers that are stated.
    answers: Vec<(DomainName, IpAddr)>,
    nat64: Nat64,
    /// The time that dates are compared with, if they are.
    at: Option<Timestamp>,
}

/// What is asked.
struct Question {
    /// The name, and where it would be read.
    identity: Identity,
    /// How it would be read, in words.
    seen_in: SeenIn,
    /// TCP or UDP.
    transport: Transport,
    /// The port the subscriber would dial.
    port: u16,
}

/// What is decided.
struct Decided {
    verdict: Verdict,
    /// Whether a running node would ask its trusted answers first.
    depends: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let (known, question) = match load(args).and_then(|known| Ok((known, Question::new(args)?))) {
        Ok(read) => read,
        Err(code) => return ExitCode::from(code),
    };
    let decided = known.decide(&question, args.address);
    print(args, &question, &decided, &known.list);
    match decided.verdict.outcome {
        Outcome::Exempt { .. } => ExitCode::SUCCESS,
        Outcome::Charged(_) => ExitCode::from(EXIT_CHARGED),
    }
}

impl Question {
    /// The question of the command line, or the exit code after what is wrong with the name has been told.
    fn new(args: &Args) -> Result<Self, u8> {
        let name = match DomainName::from_list_entry(&args.name)
            .or_else(|_| DomainName::from_wire(args.name.as_bytes()))
        {
            Ok(name) => name,
            Err(error) => {
                eprintln!("found {:?}, wanted a host name such as bilimland.kz: {error}", args.name);
                return Err(EXIT_USAGE);
            }
        };
        let (transport, seen_in, usual_port) = match args.protocol {
            Protocol::Tls => (Transport::Tcp, SeenIn::TlsSni, 443),
            Protocol::Quic => (Transport::Udp, SeenIn::QuicSni, 443),
            Protocol::Http => (Transport::Tcp, SeenIn::HttpHost, 80),
        };
        let identity = Identity { name: Some(name), seen_in: Some(seen_in), gave_up: None, ech: None };
        Ok(Self { identity, seen_in, transport, port: args.port.unwrap_or(usual_port) })
    }
}

impl Known {
    /// Decides as the daemon would.
    fn decide(&self, question: &Question, address: Option<IpAddr>) -> Decided {
        let Question { identity, transport, port, .. } = question;
        // A destination behind a NAT64 is its IPv4 address, as for the daemon.
        let destination = address.map(|address| self.nat64.destination(address));
        let stated = |address: IpAddr| {
            self.answers
                .iter()
                .any(|(name, stated)| Some(name) == identity.name.as_ref() && *stated == address)
        };
        let vouched = if destination.is_none_or(stated) { Vouched::Yes } else { Vouched::NotYet };
        let case = Case {
            identity,
            transport: *transport,
            address: destination,
            port: *port,
            vouched,
            dns_only: None,
            at: self.at,
        };
        let decision = decide(Some(&self.list), &case);
        // A running node would look among its trusted answers, and ask for the name: for an address that is not stated only it
        // can tell.
        let depends = matches!(decision, Decision::LookUp(_));
        Decided { verdict: decision.into_verdict(), depends }
    }
}

/// Prints the answer.
fn print(args: &Args, question: &Question, decided: &Decided, list: &Matcher) {
    let Question { identity, seen_in, transport, port } = question;
    let Decided { verdict, depends } = decided;
    let rule = verdict.rule.as_ref().map(ToString::to_string);
    let answer = Answer {
        file: None,
        protocol: transport.label(),
        client: None,
        server: args.address.map(|address| SocketAddr::new(address.to_canonical(), *port).to_string()),
        seen_in: Some(seen_in.label()),
        name: identity.name.as_ref().map(DomainName::as_str),
        class: verdict.class_label(),
        basis: verdict.basis().map(crate::flow::verdict::Basis::label),
        reason: verdict.reason().map(billing_export::Reason::label),
        rule: rule.as_deref(),
        up_bytes: None,
        down_bytes: None,
        not_known: (*depends && args.source.config.is_some()).then_some("trusted_answers"),
    };
    match args.format {
        Format::Json => match serde_json::to_string(&answer) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("cannot print: {error}"),
        },
        Format::Plain => {
            println!("{}", in_words(&answer, verdict, list, args.address));
            if let Some(address) = args.address.filter(|_| *depends) {
                println!(
                    "The trusted answers of a running node are not known here: where {address} is among those for {}, it is exempt there.",
                    answer.name.unwrap_or_default()
                );
            }
        }
    }
}

/// The answer for people.
fn in_words(answer: &Answer<'_>, verdict: &Verdict, list: &Matcher, address: Option<IpAddr>) -> String {
    let list = format!("list {} serial {}", list.list_id(), list.serial());
    let rule = verdict.rule.as_ref().map(|rule| format!(", rule {rule}")).unwrap_or_default();
    let name = answer.name.unwrap_or_default();
    match &verdict.outcome {
        Outcome::Exempt { basis, service } => {
            let proviso = if address.is_none() {
                ", provided the address is one the operator's resolvers gave for it"
            } else {
                ""
            };
            format!("{name}: exempt ({}), service {service}{rule}, {list}{proviso}", basis.label())
        }
        Outcome::Charged(reason) => format!("{name}: charged ({}){rule}, {list}", reason.label()),
    }
}

/// What is known, or the exit code after what is wrong has been told. The list of a configuration must be one that a node
/// takes; of one that is given by itself, errors are told and the answer is given.
fn load(args: &Args) -> Result<Known, u8> {
    let loaded = match (&args.source.list, &args.source.config) {
        (Some(path), _) => read_by_itself(path).map(|list| {
            let known = Known {
                list: Arc::new(Matcher::new(&list.document)),
                answers: Vec::new(),
                nat64: Nat64::default(),
                at: args.at,
            };
            (known, list.notes)
        }),
        (None, Some(config)) => {
            let at = args.at.unwrap_or_else(Timestamp::now);
            list_source(config, at).map(|source| {
                let ListSource { list, notes, answers, nat64 } = source;
                (Known { list, answers, nat64, at: Some(at) }, notes)
            })
        }
        (None, None) => return Err(EXIT_USAGE),
    };
    let (known, notes) = loaded.map_err(|fault| {
        fault.lines.iter().for_each(|line| eprintln!("{line}"));
        if fault.unreadable { EXIT_IO } else { EXIT_CONFIG }
    })?;
    notes.iter().for_each(|note| eprintln!("warning: {note}"));
    Ok(known)
}
