//! Certificates and keys of DNS over TLS, read from PEM files (RFC 7858, RFC 8310 for servers' names).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

use crate::wire::certificate::validity;

/// The protocol's name in ALPN (RFC 7858 §3.1 as registered).
const ALPN: &[u8] = b"dot";

/// Which file a fault is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate chain shown to clients.
    Chain,
    /// Its key.
    Key,
    /// The authorities that vouch for servers.
    Roots,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}; {remedy}", path = path.display())]
pub struct CertificateFault {
    /// Which file it is.
    pub part: Part,
    /// Where it is.
    path: PathBuf,
    /// What was found, and what was wanted.
    message: String,
    /// What to do.
    remedy: &'static str,
}

/// TLS for clients, with this chain and key.
///
/// # Errors
/// Which file, and what is wrong with it.
pub fn server(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateFault> {
    let chain = certificates(certificate, Part::Chain)?;
    let key_fault = |message| CertificateFault {
        part: Part::Key,
        path: key.to_owned(),
        message,
        remedy: "name the PEM file of the certificate's own private key, readable for the gateway's user",
    };
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| key_fault(format!("cannot be read: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| key_fault(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                key_fault(format!("found a key that is not of the certificate in {}", certificate.display()))
            }
            Error::InvalidCertificate(_) => chain_fault(certificate, Part::Chain, error.to_string()),
            _ => key_fault(error.to_string()),
        })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// What keeps clients that look from taking the first certificate of the chain at `at`: its dates.
pub fn dates(certificate: &Path, at: Timestamp) -> Option<CertificateFault> {
    let chain = certificates(certificate, Part::Chain).ok()?;
    let renew = |message| CertificateFault {
        part: Part::Chain,
        path: certificate.to_owned(),
        message,
        remedy: "renew the certificate, and send SIGHUP to a running gateway",
    };
    match validity(chain.first()?) {
        Err(malformed) => Some(chain_fault(certificate, Part::Chain, malformed.to_string())),
        Ok(valid) if valid.to < at => {
            Some(renew(format!("found a certificate that expired at {}", valid.to)))
        }
        Ok(valid) if valid.from > at => {
            Some(renew(format!("found a certificate that is not valid before {}", valid.from)))
        }
        Ok(_) => None,
    }
}

/// TLS towards servers that these authorities vouch for.
///
/// # Errors
/// The file, and what is wrong with it.
pub fn client(roots: &Path) -> Result<Arc<ClientConfig>, CertificateFault> {
    let mut trust = RootCertStore::empty();
    let (taken, _) = trust.add_parsable_certificates(certificates(roots, Part::Roots)?);
    if taken == 0 {
        return Err(chain_fault(roots, Part::Roots, "found no usable certificate".to_owned()));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| chain_fault(roots, Part::Roots, error.to_string()))?
        .with_root_certificates(trust)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The name a server's certificate must be for.
///
/// # Errors
/// What is wrong with it.
pub fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|error| format!("{name}: {error}"))
}

/// The certificates of a PEM file.
fn certificates(path: &Path, part: Part) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(|error| chain_fault(path, part, format!("cannot be read: {error}")))?;
    if found.is_empty() {
        return Err(chain_fault(path, part, "found no certificate".to_owned()));
    }
    Ok(found)
}

/// A fault of a file of certificates.
fn chain_fault(path: &Path, part: Part, message: String) -> CertificateFault {
    let remedy = match part {
        Part::Chain | Part::Key => {
            "name the PEM file of the certificate chain, the server's own first, readable for the gateway's user"
        }
        Part::Roots => "name the PEM file of the authorities, readable for the gateway's user",
    };
    CertificateFault { part, path: path.to_owned(), message, remedy }
}
