//! Where a steered flow may go: the answer of our own look-up, and the last good addresses while there is none.
//!
//! Nobody is cut off to keep a count right (decision 28). In this order: an answer of our own that is fresh;
//! a look-up, waited for only so long where an address is known already (RFC 8767 §5, the client response timer), and not
//! at all while the resolvers are known to be of no use; the last answer of our own, however old, and the trusted answers
//! (restored, stated by the operator, relayed). Of what is known, addresses that still count go first. Which of them a flow
//! reached says whether it may be exempt: an address past its retention is dialled, and charged.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;

use super::flight::{Arrival, landed};
use super::{Asker, LookupError, Lookups};
use crate::flow::decide::Vouched;
use crate::flow::time::Monotonic;

/// Addresses of one name that are told; a flow tries fewer.
const ADDRESSES_MAX: usize = 16;

/// Addresses of a name, in the order in which they are worth trying; never none.
pub struct Whereabouts {
    addresses: Arc<[IpAddr]>,
    /// So many of them, from the first, are borne out by evidence that counts.
    counting: usize,
    /// The look-up that is still under way.
    under_way: Option<Arrival>,
    /// A flow that reaches one of them is told to [`Lookups::note_use`].
    noteworthy: bool,
}

impl Whereabouts {
    /// What our own look-up has just said.
    fn found(addresses: Arc<[IpAddr]>) -> Self {
        Self { counting: addresses.len(), addresses, under_way: None, noteworthy: true }
    }

    /// The addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// What is known of the name's right to `address`, one of these, once it was reached.
    pub fn vouched(&self, address: IpAddr) -> Vouched {
        let counts = self.addresses.iter().take(self.counting).any(|known| *known == address);
        if counts { Vouched::Steered } else { Vouched::No }
    }

    /// Whether it is to be told to [`Lookups::note_use`] when a flow has reached one of them.
    pub const fn is_noteworthy(&self) -> bool {
        self.noteworthy
    }

    /// Whether a look-up is under way that may say more.
    pub const fn may_be_more(&self) -> bool {
        self.under_way.is_some()
    }

    /// What the look-up says that was not waited for; none when there is none, or it gives no address.
    pub async fn later(&self) -> Option<Self> {
        let flight = self.under_way.clone()?;
        landed(flight).await.ok().map(Self::found)
    }
}

impl Lookups {
    /// Where `name` may be dialled, asked for `asker` where it is not known afresh.
    ///
    /// # Errors
    /// [`LookupError`] when the look-up gave no address and none is known.
    pub async fn resolve(
        self: &Arc<Self>,
        name: &DomainName,
        asker: impl FnOnce() -> Asker,
    ) -> Result<Whereabouts, LookupError> {
        let now = self.clock.monotonic();
        let asked = {
            let mut state = self.state();
            match state.cache.get(name).filter(|known| known.fresh_until > now) {
                Some(known) => match &known.answer {
                    Ok(addresses) => {
                        let noteworthy = known.is_noteworthy(now);
                        return Ok(Whereabouts { noteworthy, ..Whereabouts::found(Arc::clone(addresses)) });
                    }
                    Err(error) => Err(*error),
                },
                None => self.ask(&mut state, &asker(), name, now),
            }
        };
        let flight = match asked {
            Ok(flight) => flight,
            Err(error) => return self.known(name, now).ok_or(error),
        };
        let Some(mut known) = self.known(name, now) else {
            return match landed(flight).await {
                Ok(addresses) => Ok(Whereabouts::found(addresses)),
                // The trusted answers may have learnt something meanwhile.
                Err(error) => self.known(name, self.clock.monotonic()).ok_or(error),
            };
        };
        let patience =
            if known.counting > 0 && self.is_failing() { Duration::ZERO } else { self.settings.stale_after };
        match tokio::time::timeout(patience, landed(flight.clone())).await {
            Ok(Ok(addresses)) => Ok(Whereabouts::found(addresses)),
            Ok(Err(_)) => Ok(known),
            Err(_) => {
                known.under_way = Some(flight);
                Ok(known)
            }
        }
    }

    /// The addresses of `name` that are known and may be dialled, however old.
    pub fn known_addresses(&self, name: &DomainName) -> Arc<[IpAddr]> {
        let known = self.known(name, self.clock.monotonic());
        known.map_or_else(|| Arc::from([]), |known| known.addresses)
    }

    /// The last good addresses of `name` that may be dialled, whoever told them.
    fn known(&self, name: &DomainName, now: Monotonic) -> Option<Whereabouts> {
        let last = self.state().cache.get(name).and_then(|known| known.last.clone());
        let own = last.iter().flat_map(|last| last.addresses.iter().copied());
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in own.chain(self.answers.known_addresses(name, ADDRESSES_MAX)) {
            if !addresses.contains(&address) && self.dial.permits_address(address) {
                addresses.push(address);
            }
        }
        let evidence = last.as_ref().filter(|last| last.counts_until.is_some_and(|until| now <= until));
        let counts = |address: &IpAddr| {
            evidence.is_some_and(|last| last.addresses.contains(address))
                || self.answers.vouches(name, *address)
        };
        let (counting, rest): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(counts);
        let number = counting.len().min(ADDRESSES_MAX);
        let addresses: Arc<[IpAddr]> = counting.into_iter().chain(rest).take(ADDRESSES_MAX).collect();
        (!addresses.is_empty()).then_some(Whereabouts {
            addresses,
            counting: number,
            under_way: None,
            noteworthy: true,
        })
    }
}
