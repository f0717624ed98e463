//! Who sits beside the tracker, and learns from the packets what they say besides their flows.

use std::net::SocketAddr;

use allowlist::DomainName;

use crate::flow::packets::flow::End;
use crate::wire::pcap::transport::Tcp;

/// Who sits beside the tracker, sees every packet, and keeps something with each flow: what else the packets say of names and
/// addresses. `()` sees and keeps nothing.
pub trait Companion {
    /// What is kept with a flow.
    type Notes: Default;

    /// The next packet, with its capture time.
    fn tick(&mut self, unix_nanos: Option<u64>);

    /// A packet of the flow whose first one went from `first` to `second`, before what it says is learnt; and what the flow has
    /// been named by now.
    fn seen(
        &mut self,
        notes: &mut Self::Notes,
        first: End,
        second: End,
        named: Option<(&DomainName, SocketAddr)>,
    );

    /// A whole UDP datagram, header included.
    fn datagram(&mut self, source: End, destination: End, datagram: &[u8]);

    /// A TCP segment, whole.
    fn segment(&mut self, source: End, destination: End, segment: &Tcp<'_>);

    /// A flow is over, and had this name.
    fn over(&self, notes: &mut Self::Notes, name: &DomainName, server: SocketAddr);
}

impl Companion for () {
    type Notes = ();

    fn tick(&mut self, _: Option<u64>) {}

    fn seen(&mut self, (): &mut (), _: End, _: End, _: Option<(&DomainName, SocketAddr)>) {}

    fn datagram(&mut self, _: End, _: End, _: &[u8]) {}

    fn segment(&mut self, _: End, _: End, _: &Tcp<'_>) {}

    fn over(&self, (): &mut (), _: &DomainName, _: SocketAddr) {}
}
