//! The sites of the audit: TLS over TCP and HTTP/3 on the usual port of every address, with one certificate for both names,
//! so that whoever answers, no client objects.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::network::{Network, Zone};
use super::plan::{Family, HTTPS, LISTED_NAME, OTHER_NAME, Site};
use crate::app::lab::demo::{http3, origins};

/// Running sites; they end when the value is dropped.
pub(super) struct Sites {
    /// Trusts their certificate.
    pub trust: RootCertStore,
    /// Ends them.
    end: Option<oneshot::Sender<()>>,
    /// Where they run.
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Sites {
    /// Starts them in the internet's namespace.
    ///
    /// # Errors
    /// What the system or the libraries say.
    pub(super) fn start(network: &Network) -> io::Result<Self> {
        let names = vec![LISTED_NAME.to_owned(), OTHER_NAME.to_owned()];
        let (tls, trust) = origins::certificate(names).map_err(io::Error::other)?;
        let (end, ended) = oneshot::channel();
        let (told, started) = mpsc::channel();
        let thread = network.run(Zone::Internet, move |runtime| {
            runtime.block_on(async {
                let outcome = listen(&tls).await;
                let sound = outcome.is_ok();
                let _ = told.send(outcome);
                if sound {
                    let _ = ended.await;
                }
            });
        })?;
        let mut sites = Self { trust, end: Some(end), thread: Some(thread) };
        match started.recv() {
            Ok(outcome) => outcome.map(|()| sites),
            Err(_) => Err(sites.join().err().unwrap_or_else(|| io::Error::other("the sites did not start"))),
        }
    }

    /// Ends the sites and waits for their thread.
    fn join(&mut self) -> io::Result<()> {
        drop(self.end.take());
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread of the sites panicked")))
    }
}

impl Drop for Sites {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

/// Starts a TLS and an HTTP/3 server at each address.
async fn listen(tls: &ServerConfig) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls.clone()));
    for family in [Family::V4, Family::V6] {
        for place in Site::ALL {
            let address = (place.address(family), HTTPS).into();
            http3::serve(address, tls)?;
            let listener = TcpListener::bind(address).await?;
            let acceptor = acceptor.clone();
            tokio::spawn(origins::accept(listener, move |stream| {
                let acceptor = acceptor.clone();
                // A client that breaks the handshake off has nothing to be told.
                async move { origins::serve(acceptor.accept(stream).await?).await }
            }));
        }
    }
    Ok(())
}
