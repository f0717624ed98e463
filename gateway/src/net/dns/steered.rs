//! Questions for steered names: the servers are asked like for any other, for whether a name exists and what it has is
//! theirs to say; of what there is, ours is given (decision 4).
//!
//! ```text
//!  servers say                      given
//!  no such name                     the same
//!  no such record                   the same, or that of our own without their CNAMEs
//!  an address, a service binding    ours; without one of this family that there is none
//!  addresses of one family alone,   the same: nobody is cut off, and what passes by us is charged
//!    and ours are of the other
//!  nothing, or that they failed     ours, where the gateway knows where to dial (decision 28)
//!  REFUSED                          the same
//! ```
//!
//! CNAMEs are never given: who keeps them asks for their target next, which nobody steers.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

use allowlist::DomainName;
use billing_export::Session;

use super::count::{Event, Steered};
use super::message::{Asked, REFUSED, SERV_FAIL, origin_services};
use super::pending::Pending;
use super::relay::Relay;
use crate::flow::steer::{self, RelayReason, Steering, steered_service};
use crate::flow::time::Monotonic;
use crate::net::node::policy::{Exemption, Policy};
use crate::wire::dns::{self, Facts, RCODE_NO_ERROR, TYPE_A, TYPE_AAAA, TYPE_HTTPS, layout};

/// Response code NXDOMAIN, RFC 1035 §4.1.1.
const NX_DOMAIN: u16 = 3;

/// What is given for an answer of a server.
enum Given {
    /// This.
    Own(Option<Vec<u8>>),
    /// What the server said.
    AsItIs,
    /// It depends on whether the name has an address of the other family.
    AsksForOther,
}

impl Relay {
    /// Whether what is asked for is ours to give.
    pub(super) fn steer(
        &self,
        policy: &Policy,
        subscriber: Option<&Session>,
        question: &dns::Question,
    ) -> Steering {
        if self.plane.settings.steer_addresses.is_empty() {
            // The wall clock and the name are not looked at where nothing is ever steered.
            return Steering::Relay(RelayReason::Off);
        }
        let is_on = policy.exemption == Exemption::Allowed;
        let name = host(question);
        let asked = steer::Asked {
            name: name.as_ref(),
            kind: question.kind,
            class: question.class,
            is_subscriber: subscriber.is_some(),
            is_on,
            at: self.shared.clock.now().wall,
        };
        let has_room = |service: &str| {
            policy.allowance.is_unlimited()
                || subscriber.is_some_and(|session| {
                    policy.allowances.has_room(&policy.allowance, session, service, asked.at)
                })
        };
        steer::steer(policy.list.as_deref(), &asked, has_room)
    }

    /// Gives what a server's answer is made into.
    pub(super) fn conclude_steered(
        self: &Rc<Self>,
        mut pending: Box<Pending>,
        steered: Steered,
        reply: &[u8],
        facts: Option<&Facts>,
        now: Monotonic,
    ) {
        if pending.asker.is_none() {
            return;
        }
        let given = match pending.alone.take() {
            Some(alone) => return self.conclude_alone(pending, steered, &alone, facts),
            None => self.given(&pending, steered, reply, facts),
        };
        match given {
            Given::Own(Some(own)) => {
                self.count(Event::Steered(steered));
                self.give_pending(&mut pending, Cow::Owned(own));
            }
            Given::Own(None) | Given::AsItIs => self.give_pending(&mut pending, Cow::Borrowed(reply)),
            Given::AsksForOther => self.ask_for_other(pending, steered, reply, now),
        }
    }

    /// What is given for an answer.
    fn given(&self, pending: &Pending, steered: Steered, reply: &[u8], facts: Option<&Facts>) -> Given {
        let asked = pending.asked(self.plane.settings.udp_answer_max);
        let unheard = || self.unheard(&asked, steered).map_or(Given::AsItIs, |own| Given::Own(Some(own)));
        // What cannot be read says nothing.
        let Some(facts) = facts else { return unheard() };
        match facts.rcode {
            RCODE_NO_ERROR => {}
            NX_DOMAIN => return Given::AsItIs,
            _ => return unheard(),
        }
        if facts.question.truncated {
            // With all its records it is asked for over TCP.
            return Given::Own(asked.truncated());
        }
        let settings = &self.plane.settings;
        if steered == Steered::Service {
            let origin = origin_services(reply, facts);
            return match steered_service(&origin, settings.takes_datagrams) {
                Some(service) => {
                    let ttl = settings.steer_ttl;
                    Given::Own(asked.service(&service, &settings.steer_addresses, ttl))
                }
                None if origin.is_empty() => self.nothing(&asked, reply, facts),
                None => Given::Own(asked.nothing(settings.steer_ttl)),
            };
        }
        if facts.found.addresses.is_empty() {
            return self.nothing(&asked, reply, facts);
        }
        let has_ours = settings.steer_addresses.iter().any(|address| is_of(steered, *address));
        if !has_ours && !pending.is_signed && !self.has_other(asked.question, steered) {
            return Given::AsksForOther;
        }
        Given::Own(self.addresses(&asked, steered))
    }

    /// That there is no such record: as the server said it, where that can be kept and has no CNAME.
    fn nothing(&self, asked: &Asked<'_>, reply: &[u8], facts: &Facts) -> Given {
        // Without recursion it may be a referral.
        let is_final = layout::said(reply, &facts.question, 0).is_ok_and(|said| said.has_soa);
        if is_final || !asked.question.recursion_desired {
            return Given::AsItIs;
        }
        Given::Own(asked.nothing(self.plane.settings.steer_ttl))
    }

    /// Our addresses of one family.
    fn addresses(&self, asked: &Asked<'_>, steered: Steered) -> Option<Vec<u8>> {
        let settings = &self.plane.settings;
        let ours = settings.steer_addresses.iter().copied();
        let addresses: Vec<_> = ours.filter(|address| is_of(steered, *address)).collect();
        asked.addresses(&addresses, settings.steer_ttl)
    }

    /// What is given when no server has said what there is: ours, where the gateway knows addresses to dial.
    pub(super) fn unheard(&self, asked: &Asked<'_>, steered: Steered) -> Option<Vec<u8>> {
        match steered {
            // That it has no service binding lets clients use its addresses.
            Steered::Service => asked.nothing(self.plane.settings.steer_ttl),
            Steered::V4 | Steered::V6 => {
                let is_known = host(asked.question)
                    .is_some_and(|name| !self.shared.lookups.known_addresses(&name).is_empty());
                is_known.then(|| self.addresses(asked, steered)).flatten()
            }
        }
    }

    /// The same where it can be said at once: every server is down, and a client does not wait to hear that again.
    pub(super) fn unheard_at_once(&self, asked: &Asked<'_>, steered: Steered) -> Option<Vec<u8>> {
        let (down, all) = self.plane.servers_down();
        (down == all).then(|| self.unheard(asked, steered)).flatten()
    }

    /// What is given at the end, when servers were silent or failed.
    pub(super) fn steered_failure(&self, pending: &mut Pending, steered: Steered) -> Option<Vec<u8>> {
        let failure = pending.failure.take();
        if let Some(alone) = pending.alone.take() {
            pending.ask_for(kind_of(steered));
            return Some(alone);
        }
        let asked = pending.asked(self.plane.settings.udp_answer_max);
        let code = |failure: &Vec<u8>| failure.get(3).map_or(0, |flags| u16::from(flags & 0x0f));
        if let Some(failure) = failure.as_ref().filter(|said| [REFUSED, NX_DOMAIN].contains(&code(said))) {
            return Some(failure.clone());
        }
        let own = self.unheard(&asked, steered).inspect(|_| self.count(Event::Steered(steered)));
        own.or(failure).or_else(|| asked.empty(SERV_FAIL))
    }

    /// Whether the name is known to have an address of the other family.
    fn has_other(&self, question: &dns::Question, steered: Steered) -> bool {
        let is_of_other = |address: &IpAddr| is_of(other(steered), *address);
        host(question).is_some_and(|name| self.shared.lookups.known_addresses(&name).iter().any(is_of_other))
    }

    /// Asks whether a name with addresses of a family that ours are not of has others too, where ours lead to then.
    fn ask_for_other(
        self: &Rc<Self>,
        mut pending: Box<Pending>,
        steered: Steered,
        reply: &[u8],
        now: Monotonic,
    ) {
        pending.alone = Some(reply.to_vec());
        pending.ask_for(kind_of(other(steered)));
        pending.begin_again(now);
        let ticket = self.table.borrow_mut().insert(pending);
        self.try_next(ticket, now);
    }

    /// Takes the answer to that: without others the name's own are given.
    fn conclude_alone(
        &self,
        mut pending: Box<Pending>,
        steered: Steered,
        alone: &[u8],
        facts: Option<&Facts>,
    ) {
        pending.ask_for(kind_of(steered));
        let asked = pending.asked(self.plane.settings.udp_answer_max);
        let leads_here = facts.is_some_and(|facts| !facts.found.addresses.is_empty());
        let own = leads_here.then(|| asked.nothing(self.plane.settings.steer_ttl)).flatten();
        if own.is_some() {
            self.count(Event::Steered(steered));
        }
        self.give_pending(&mut pending, own.map_or(Cow::Borrowed(alone), Cow::Owned));
    }
}

/// The type of the addresses of a family.
const fn kind_of(steered: Steered) -> u16 {
    match steered {
        Steered::V4 => TYPE_A,
        Steered::V6 => TYPE_AAAA,
        Steered::Service => TYPE_HTTPS,
    }
}

/// The other family.
const fn other(steered: Steered) -> Steered {
    match steered {
        Steered::V4 => Steered::V6,
        Steered::V6 => Steered::V4,
        Steered::Service => Steered::Service,
    }
}

/// The host that a question names.
fn host(question: &dns::Question) -> Option<DomainName> {
    question.name.host().and_then(|host| DomainName::from_wire(&host).ok())
}

/// Whether an address is of the family that is steered.
const fn is_of(steered: Steered, address: IpAddr) -> bool {
    match steered {
        Steered::V4 => address.is_ipv4(),
        Steered::V6 => address.is_ipv6(),
        Steered::Service => true,
    }
}
