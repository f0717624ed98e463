//! The subscribers of the demonstration: real TLS, HTTP and HTTP/3 clients, each with its own count of what it wrote and
//! read.
//!
//! A TCP client asks, reads to the end, and only then ends its own side: every byte that it counted was acknowledged, so the
//! gateway's figures have no excuse to differ.

mod proxy;
mod speak;
mod tally;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use self::speak::converse;
use self::tally::Ended;
use super::counting::Counts;
use super::http3::Http3Client;
use super::world::{self, Flow};

pub(in crate::app) use self::tally::Line;
pub(super) use self::tally::Tally;

/// Flows at once.
const CONCURRENCY: usize = 24;
/// Longest time for one flow; far more than any takes, so that nothing hangs.
const FLOW_LIMIT: Duration = Duration::from_secs(120);

/// Where clients connect to, and whom they trust.
#[derive(Clone)]
pub(super) struct Network {
    /// The steered listener.
    steered: SocketAddr,
    /// The `proxy_protocol` listener.
    proxied: SocketAddr,
    /// TLS 1.3 clients.
    connector: TlsConnector,
    /// HTTP/3 clients.
    http3: Http3Client,
}

impl Network {
    /// Clients of these listeners that trust the origins' certificate.
    ///
    /// # Errors
    /// The TLS library's.
    pub(super) fn new(steered: SocketAddr, proxied: SocketAddr, trust: RootCertStore) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(trust.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { steered, proxied, connector, http3: Http3Client::new(trust)? })
    }
}

/// Runs `flows` flows of the script, [`CONCURRENCY`] at a time; `bar` hears of each that ended.
pub(super) async fn browse(network: &Network, flows: u64, bar: &ProgressBar) -> Tally {
    let mut tally = Tally::default();
    let turns = Arc::new(Semaphore::new(CONCURRENCY));
    let mut running = JoinSet::new();
    let mut next = 0;
    loop {
        tokio::select! {
            Ok(turn) = Arc::clone(&turns).acquire_owned(), if next < flows => {
                let (flow, network) = (world::flow(next), network.clone());
                running.spawn(async move { run(&network, flow, turn).await });
                next = next.saturating_add(1);
            }
            Some(ended) = running.join_next() => {
                match ended {
                    Ok(ended) => tally.add(ended),
                    Err(error) => tally.fail(format!("a client's task ended: {error}")),
                }
                bar.inc(1);
            }
            else => return tally,
        }
    }
}

/// Runs one flow to its end; `turn` is given back when it has nothing more to say.
async fn run(network: &Network, flow: Flow, turn: OwnedSemaphorePermit) -> Ended {
    let counts = Arc::new(Counts::default());
    let outcome = timeout(FLOW_LIMIT, converse(network, &flow, Arc::clone(&counts), turn)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    Ended { flow, volume: counts.volume(), outcome }
}
