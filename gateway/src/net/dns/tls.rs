//! Certificates and keys of DNS over TLS, read from PEM files (RFC 7858, RFC 8310 for servers' names).

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The protocol's name in ALPN (RFC 7858 §3.1 as registered).
const ALPN: &[u8] = b"dot";

/// TLS for clients, with this chain and key.
///
/// # Errors
/// Which file, and what is wrong with it.
pub fn server(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| format!("{}: {error}", certificate.display()))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// TLS towards servers that these authorities vouch for.
///
/// # Errors
/// The file, and what is wrong with it.
pub fn client(roots: &Path) -> Result<Arc<ClientConfig>, String> {
    let mut trust = RootCertStore::empty();
    let (taken, _) = trust.add_parsable_certificates(certificates(roots)?);
    if taken == 0 {
        return Err(format!("{}: no usable certificate", roots.display()));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
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
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |error| format!("{}: {error}", path.display());
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fault)?.collect();
    let found = read.map_err(fault)?;
    if found.is_empty() { Err(format!("{}: no certificate", path.display())) } else { Ok(found) }
}
