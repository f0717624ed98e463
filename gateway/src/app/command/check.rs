//! `gateway check`: every problem of configuration, list, subscribers and certificates at once, before the daemon meets
//! them.

mod machine;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use allowlist::lint::Severity;
use allowlist::{Document, DomainName, Matcher};
use config::dns::{Clients, Server};
use config::{Config, Mode, Protocol};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use crate::app::node::input::InputFault;
use crate::app::node::lists::{Former, Gate, ListKeeper, Offered};
use crate::app::node::reload::radius::clients;
use crate::app::node::reload::{gate, load, named_by, read_subscribers};
use crate::app::node::start::{certificate_fault, nat64, static_answer_problem};
use crate::app::{EXIT_CONFIG, EXIT_IO};
use crate::flow::binding::Nat64;
use crate::net::dns::tls;
use crate::net::radius;

/// Warnings of the linter that are shown; how many more there are is told.
const WARNINGS_SHOWN_MAX: usize = 100;

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway check --config /etc/zrgw/gateway.toml
  gateway check --config gateway.toml --format json

Folders, rights and addresses are looked at for the user who runs the check, on this machine: run it as the gateway's. Beside a
gateway that runs on the same state folder addresses are not tried, for they are its own.
Exit codes: 0 no problem, 74 the configuration file cannot be read, 78 problems, each named with its place.";

/// Says everything that is wrong with configuration, list, subscriber table, certificates, folders and addresses.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Plain)]
    pub format: Format,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Plain,
    /// One JSON object.
    Json,
}

/// What the check found.
#[derive(Serialize, Default)]
struct Findings {
    problems: Vec<String>,
    notes: Vec<String>,
    list_id: Option<String>,
    list_serial: Option<u64>,
    rules: usize,
    subscriber_prefixes: usize,
}

/// Runs the command: the result on standard output, problems on standard error.
pub fn run(args: &Args) -> ExitCode {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(fault) => {
            let unreadable = fault.unreadable;
            let findings = Findings { problems: fault.lines, ..Findings::default() };
            print(args, &findings);
            return ExitCode::from(if unreadable { EXIT_IO } else { EXIT_CONFIG });
        }
    };
    let findings = examine(&config);
    print(args, &findings);
    if findings.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) }
}

/// What `explain` takes of a configuration.
pub struct ListSource {
    /// The list that a node of this configuration would go by.
    pub list: Arc<Matcher>,
    /// What of it is worth a word.
    pub notes: Vec<String>,
    /// Trusted answers that the configuration states.
    pub answers: Vec<(DomainName, IpAddr)>,
    /// The operator's NAT64.
    pub nat64: Nat64,
}

/// The list that a node of a configuration goes by at `at`, with the stated trusted answers. While the list of the file is
/// still to come at that time, that is the one accepted before.
///
/// # Errors
/// What is wrong with the configuration, or why a node would not take the list.
pub fn list_source(path: &Path, at: Timestamp) -> Result<ListSource, InputFault> {
    let config = load(path)?;
    let gate = gate(&config.list);
    let (list, faults) = offered(&config, &gate);
    let Offered { document, mut notes, .. } = list.map_err(|fault| named_by(&config, "list.file", fault))?;
    notes.extend(faults.into_iter().flat_map(|fault| fault.lines));
    let mut list = Arc::new(Matcher::new(&document));
    if list.effective_from() > at {
        let (keeper, _) = ListKeeper::open(&config.node.state_dir, Former::LetGo, &gate, at);
        if let Some(before) = keeper.in_force(at) {
            list = before;
        }
    }
    let nat64 = nat64(&config);
    let stated = config.trusted_answers.statics.iter().filter_map(|answer| {
        // A name that is none is what `check` reports; here it vouches for nothing.
        let name = DomainName::from_list_entry(&answer.name).ok()?;
        Some(answer.addresses.iter().map(move |address| (name.clone(), *address)))
    });
    let answers = stated.flatten().map(|(name, address)| (name, nat64.destination(address)));
    Ok(ListSource { answers: answers.collect(), list, notes, nat64 })
}

/// The list as a node would take it at its start, after those it has accepted before; and what of those cannot be used.
fn offered(config: &Config, gate: &Gate) -> (Result<Offered, InputFault>, Vec<InputFault>) {
    let now = Timestamp::now();
    let (keeper, faults) = ListKeeper::open(&config.node.state_dir, Former::LetGo, gate, now);
    (keeper.examine(&config.list.file, gate, now), faults)
}

/// Everything that can be said without starting.
fn examine(config: &Config) -> Findings {
    let mut findings = Findings { notes: config.notes.clone(), ..Findings::default() };
    findings.notes.extend(config.local_peers());
    examine_list(config, &mut findings);
    match read_subscribers(config) {
        Ok(rows) => {
            findings.subscriber_prefixes = rows.len();
            let prefixes: Vec<_> = rows.into_iter().map(|(prefix, _)| prefix).collect();
            findings.notes.extend(unnamed_pools(config, &prefixes));
        }
        Err(fault) => findings.problems.extend(fault.lines),
    }
    if let Err(fault) = clients(config, &radius::Clients::default()) {
        findings.problems.extend(fault.lines);
    }
    for (index, answer) in config.trusted_answers.statics.iter().enumerate() {
        if let Err(error) = DomainName::from_list_entry(&answer.name) {
            findings.problems.push(format!(
                "{}:{}",
                config.source.display(),
                static_answer_problem(config, index, &error)
            ));
        }
    }
    let unmarked = config.unmarked_groups();
    findings.problems.extend(unmarked.map(|(key, problem)| format!("{}: {problem}", config.at(&key))));
    machine::examine(config, &mut findings);
    findings.problems.extend(certificate_problems(config));
    findings.notes.extend(source_note(config));
    findings
}

/// Steered listeners that serve some subscribers only while the table has them: whoever has a public address, and a session
/// that is not known yet, or not any more while his resolver keeps our answer, would be reset.
fn unnamed_pools(config: &Config, prefixes: &[IpNet]) -> Vec<String> {
    let mut notes = Vec::new();
    let steered = config.listeners.iter().enumerate().filter(|(_, one)| one.mode == config::Mode::Steered);
    for (number, listener) in steered {
        let named: Vec<_> = listener.clients.iter().flat_map(Clients::prefixes).collect();
        let is_named = |prefix: &IpNet| named.iter().any(|net| net.contains(prefix));
        let count = prefixes.iter().filter(|prefix| !is_named(prefix)).count();
        if count > 0 {
            notes.push(format!(
                "listener[{number}].clients: {count} prefixes of the subscriber table are within none that is named here: an address of theirs is served only while it is in the table. Name the pools they come from"
            ));
        }
    }
    notes
}

/// What a node would say of the list: what refuses it, and what is worth a word.
fn examine_list(config: &Config, findings: &mut Findings) {
    let (list, faults) = offered(config, &gate(&config.list));
    findings.notes.extend(faults.into_iter().flat_map(|fault| fault.lines));
    let Offered { document, notes, .. } = match list {
        Ok(list) => list,
        Err(fault) => return findings.problems.extend(named_by(config, "list.file", fault).lines),
    };
    findings.list_id = Some(document.list_id().to_owned());
    findings.list_serial = Some(document.serial());
    findings.rules = document.entry_count();
    findings.notes.extend(notes);
    let place = config.list.file.display();
    let warnings: Vec<_> = allowlist::lint::document(&document, None)
        .into_iter()
        .filter(|found| found.severity() == Severity::Warning)
        .collect();
    findings.notes.extend(warnings.iter().take(WARNINGS_SHOWN_MAX).map(|found| format!("{place}:{found}")));
    if let Some(more) = warnings.len().checked_sub(WARNINGS_SHOWN_MAX).filter(|more| *more > 0) {
        findings.notes.push(format!("{place}: {more} more warnings; `allowlist lint {place}` shows all"));
    }
    findings.notes.extend(unknown_services(config, &document));
    let (from, expires) = (document.effective_from().instant(), document.expires().instant());
    let now = Timestamp::now();
    if expires <= now {
        findings.notes.push(format!("list: expired at {expires}: nothing is exempt until it is renewed"));
    } else if from > now {
        findings.notes.push(format!(
            "list: in force from {from} on: until then serial {} is pending, and a running node goes on by the list it has",
            document.serial()
        ));
    }
}

/// That, as far as this file says, nobody holds the sources of datagrams against where they come from.
fn source_note(config: &Config) -> Option<String> {
    let takes_datagrams = config
        .listeners
        .iter()
        .any(|listener| listener.mode == Mode::Transparent && listener.serves(Protocol::Udp));
    if takes_datagrams && !config.edge.source_validation {
        let note = "edge.source_validation is off: a subscriber may send datagrams in another's name. Name \
                    edge.interfaces, or see that the routers before this machine validate sources (RFC 2827)";
        return Some(note.to_owned());
    }
    let listens = config.dns.iter().flat_map(|dns| &dns.listen).any(|listen| !listen.ip().is_loopback());
    listens.then(|| {
        "dns.listen: a datagram does not prove who sent it. See that the routers before this machine validate sources \
         (RFC 2827), else a subscriber may ask in another's name"
            .to_owned()
    })
}

/// Services that limits or rating groups name and the list does not have: a slip of the pen would leave one without its limit.
fn unknown_services(config: &Config, list: &Document) -> Vec<String> {
    let known = |id: &str| list.services().iter().any(|service| service.id() == id);
    let groups = config.allowance.iter().flat_map(|allowance| &allowance.groups).enumerate();
    let limited = groups.map(|(number, group)| (format!("allowance.group[{number}]"), &group.services));
    let rated = config.rating_groups.iter().enumerate().filter_map(|(number, group)| match &group.services {
        config::Services::Others => None,
        config::Services::Named(services) => Some((format!("rating_group[{number}]"), services)),
    });
    let named = limited.chain(rated).flat_map(|(group, services)| {
        services
            .iter()
            .enumerate()
            .map(move |(number, service)| (format!("{group}.services[{number}]"), service))
    });
    named
        .filter(|(_, service)| !known(service))
        .map(|(key, service)| format!("{key}: the list has no service \"{service}\""))
        .collect()
}

/// What is wrong with the certificates and keys of the DNS plane, each with its place.
fn certificate_problems(config: &Config) -> Vec<String> {
    let Some(dns) = &config.dns else { return Vec::new() };
    let mut faults = Vec::new();
    if let Some(tls) = &dns.tls {
        faults.extend(tls::server(&tls.certificate, &tls.key).err());
        faults.extend(tls::dates(&tls.certificate, Timestamp::now()));
    }
    let asks_over_tls = dns.upstream.iter().any(|server| match server {
        Server::Plain(_) => false,
        Server::Tls { .. } => true,
    });
    if asks_over_tls {
        faults.extend(tls::client(&dns.upstream_roots).err());
    }
    faults.iter().map(|fault| certificate_fault(config, fault)).collect()
}

/// Prints the findings.
fn print(args: &Args, findings: &Findings) {
    match args.format {
        Format::Json => match serde_json::to_string_pretty(findings) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("cannot print: {error}"),
        },
        Format::Plain => {
            findings.problems.iter().for_each(|problem| eprintln!("{problem}"));
            findings.notes.iter().for_each(|note| eprintln!("note: {note}"));
            let path = args.config.display();
            match findings.problems.len() {
                0 => println!(
                    "{path}: no problems; list {} serial {}, {} rules, {} subscriber prefixes",
                    findings.list_id.as_deref().unwrap_or("-"),
                    findings.list_serial.unwrap_or_default(),
                    findings.rules,
                    findings.subscriber_prefixes
                ),
                1 => println!("{path}: 1 problem"),
                count => println!("{path}: {count} problems"),
            }
        }
    }
}
