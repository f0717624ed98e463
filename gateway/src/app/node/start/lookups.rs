//! Look-ups of a node: their settings, and the trusted answers that the configuration states.

use std::io;
use std::sync::Arc;

use allowlist::DomainName;
use config::Config;

use super::StartError;
use crate::flow::binding::{AddressFacts, AnswerLimits};
use crate::net::lookup::answers::Answers;
use crate::net::lookup::{LookupSettings, Lookups};
use crate::net::node::policy::PolicyCell;
use crate::net::node::settings::DialRules;
use crate::net::sys::clock::Clock;

/// Our own look-ups, with the trusted answers of the configuration.
pub(super) fn lookups(
    config: &Config,
    policy: &Arc<PolicyCell>,
    dial: &Arc<DialRules>,
    clock: Clock,
    runtime: &tokio::runtime::Handle,
) -> Result<Arc<Lookups>, StartError> {
    let settings = LookupSettings {
        resolvers: config.upstream.resolvers.clone(),
        try_timeout: config.lookup.try_timeout,
        tries: config.lookup.tries,
        total_timeout: config.lookup.total_timeout,
        stale_after: config.lookup.stale_after,
        cnames_max: config.lookup.cnames_max,
        negative_ttl: config.lookup.negative_ttl,
        per_second_max: config.lookup.per_second_max,
        in_flight_max: config.lookup.in_flight_max,
        per_subscriber_minute_max: config.lookup.per_subscriber_minute_max,
        waiting_max: config.lookup.waiting_max,
        waiting_per_subscriber_max: config.lookup.waiting_per_subscriber_max,
        names_max: config.lookup.names_max,
        scheduled_per_second_max: config.lookup.scheduled_per_second_max,
    };
    let trusted = &config.trusted_answers;
    let limits = AnswerLimits {
        retention: trusted.retention,
        pairs_max: trusted.pairs_max,
        pairs_per_rule_max: trusted.pairs_per_rule_max,
        pairs_per_subscriber_max: trusted.pairs_per_subscriber_max,
        wildcard_names_min: trusted.wildcard_names_min,
        addresses_per_name_max: trusted.addresses_per_name_max,
        names_per_address_max: trusted.names_per_address_max,
        shared_subscribers_min: trusted.shared_subscribers_min,
        shared_domains_min: trusted.shared_domains_min,
        dns_only_pairs_max: trusted.dns_only_pairs_max,
        dns_only_pairs_per_subscriber_max: trusted.dns_only_pairs_per_subscriber_max,
    };
    let answers = Answers::new(limits, dial.nat64.clone(), Arc::clone(policy), Arc::clone(dial), clock);
    answers.state(AddressFacts {
        shared: trusted.shared_addresses.clone(),
        dedicated: trusted.dedicated_addresses.clone(),
    });
    let lookups = Lookups::new(
        settings,
        Arc::clone(&answers),
        Arc::clone(policy),
        Arc::clone(dial),
        clock,
        runtime.clone(),
    )
    .map_err(|message| StartError::System {
        what: "set up the resolver",
        source: io::Error::other(message),
    })?;
    let mut problems = Vec::new();
    for (index, answer) in config.trusted_answers.statics.iter().enumerate() {
        match DomainName::from_list_entry(&answer.name) {
            Ok(name) => answer.addresses.iter().for_each(|address| answers.pin(&name, *address)),
            Err(error) => problems.push(static_answer_problem(config, index, &error)),
        }
    }
    if problems.is_empty() { Ok(lookups) } else { Err(StartError::Config(problems.join("\n"))) }
}

/// The message about a static answer whose name is none.
pub fn static_answer_problem(config: &Config, index: usize, error: &allowlist::NameError) -> String {
    let key = format!("trusted_answers.static[{index}].name");
    let place = config.place(&key).map_or_else(|| "1:1".to_owned(), |place| place.to_string());
    let name = config.trusted_answers.statics.get(index).map_or("", |answer| answer.name.as_str());
    format!("{place}: {key}: found {name:?}; wanted a host name: {error}")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;
    use std::task::{Context, Poll, Waker};

    use super::super::known::first_policy;
    use super::super::settings::dial_rules;
    use super::*;
    use crate::flow::session::SubscriberKey;
    use crate::net::lookup::Asker;

    /// A node without resolvers, to which the operator states one answer.
    const STATED: &str = r#"
[node]
id = "gw-1"
state_dir = "state"
[export]
dir = "export"
[[listener]]
mode = "proxy_protocol"
address = "127.0.0.1:443"
[list]
file = "list.json"
signatures = "none"
[trusted_answers]
static = [{ name = "www.listed.example", addresses = ["203.0.113.7"] }]
"#;

    /// The flow was decided before the answer came, and asks after it.
    #[test]
    fn v5_a_flow_that_asks_behind_the_answer_asks_nobody_and_is_not_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let config = Config::parse(STATED, Path::new(".")).unwrap();
        let policy = Arc::new(PolicyCell::new(first_policy(&config)));
        let dial = Arc::new(dial_rules(&config, Vec::new()).unwrap());
        let lookups = lookups(&config, &policy, &dial, Clock::new(), runtime.handle()).unwrap();
        let name = DomainName::from_wire(b"www.listed.example").unwrap();
        let asker = Asker { subscriber: SubscriberKey::Address(IpAddr::from([10, 0, 0, 1])), proven: true };
        let mut known = Box::pin(lookups.verify(&asker, &name, IpAddr::from([203, 0, 113, 7])).unwrap());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(known.as_mut().poll(&mut context), Poll::Ready(true));
        assert!(lookups.verify(&asker, &name, IpAddr::from([203, 0, 113, 8])).is_none(), "nobody to ask");
    }
}
