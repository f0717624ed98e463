//! RADIUS accounting comes in (RFC 2866): who has which address, from the access servers themselves or from an AAA that passes on
//! what they say.
//!
//! One thread hears, decides, commits and answers ([`Service`]). It reads what waits at its sockets, as much as one commit takes,
//! has [`crate::flow::session::accounting`] decide, has the disk take what follows, changes the table of sessions, and only then
//! answers: an access server that has its answer need not say it again, and one that has none will. While the disk says no nothing
//! is read and nobody is answered; what is known stays.

mod clients;
mod control;
mod figures;
mod hear;
mod port;
mod repeats;
mod serve;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use socket2::SockRef;

pub use self::clients::{Client, Clients, Secret, SecretError};
pub use self::figures::{Figures, Heard, Result as RequestResult};
pub(in crate::net) use self::hear::type_of;
pub use self::serve::{Accounting, Service};
use crate::flow::session::accounting::{Limits, Memory, RowChange};
use crate::net::ingress::inherited::Inherited;

/// Room for requests that wait while the disk takes others: some ten thousand.
const BUFFER_BYTES: usize = 8 << 20;

/// What the operator asks for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Limits of the sessions.
    pub limits: Limits,
    /// How long nobody may have listened with sessions still believed.
    pub trust_gap: Duration,
}

/// Where sessions are kept over a restart.
pub trait Shelf: Send {
    /// All that is kept, and when the gateway last said that it hears; none: never.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn load(&mut self) -> Result<Kept, ShelfError>;

    /// Keeps changes, in their order, and that the gateway hears at `now`: durably when this returns, all or none.
    ///
    /// # Errors
    /// Why it cannot be kept. The same changes are tried again.
    fn commit(&mut self, changes: &[RowChange], now: Timestamp) -> Result<(), ShelfError>;

    /// Lets go of what is open, for another process; the next call opens it again.
    fn close(&mut self);
}

/// What was kept.
#[derive(Debug, Default)]
pub struct Kept {
    /// Sessions, and what is known of access servers.
    pub memory: Memory,
    /// When the gateway last said that it hears.
    pub alive: Option<Timestamp>,
    /// Rows that nobody understands: they are left where they are.
    pub strange: u64,
}

/// Why a shelf does not serve, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// Nothing was kept.
    #[error("{0}")]
    Failed(String),
    /// What was kept before is gone, or may be: all of it is to be kept again.
    #[error("sessions.db was removed or replaced while the gateway ran: what is known is written again")]
    Gone,
}

/// Sockets at these addresses: those that were open before, and new ones.
///
/// # Errors
/// The address, and what the system says of it.
pub fn bind(
    listen: &[SocketAddr],
    inherited: &mut Inherited,
) -> Result<Vec<UdpSocket>, (SocketAddr, io::Error)> {
    listen.iter().map(|address| bind_one(*address, inherited).map_err(|error| (*address, error))).collect()
}

/// A socket that does not wait.
fn bind_one(address: SocketAddr, inherited: &mut Inherited) -> io::Result<UdpSocket> {
    let socket = match inherited.take_datagrams(address).into_iter().next() {
        Some(socket) => socket,
        None => UdpSocket::bind(address)?,
    };
    socket.set_nonblocking(true)?;
    // As much as the system permits (net.core.rmem_max): what finds no room is sent again.
    let _ = SockRef::from(&socket).set_recv_buffer_size(BUFFER_BYTES);
    Ok(socket)
}

/// The clients in force; a reload puts others in their place.
pub type ClientsCell = Arc<ArcSwap<Clients>>;
