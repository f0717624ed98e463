//! DNS over TLS for clients: the keys of section [dns] that begin with `tls`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{address, read_path};
use crate::reader::{Mismatch, Reader};
use crate::section::Section;

/// DNS over TLS for clients (RFC 7858).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where clients connect.
    pub listen: Vec<SocketAddr>,
    /// The certificate chain (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

/// Reads the keys of DNS over TLS: certificate and key are wanted with `tls_listen`, and only then.
pub(super) fn read_tls<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Option<Tls> {
    let listen = address::read_listen(reader, section, "tls_listen");
    let certificate = read_path(reader, section, "tls_certificate");
    let key = read_path(reader, section, "tls_key");
    for name in ["tls_certificate", "tls_key"] {
        let stated = section.value(name);
        match (section.value("tls_listen"), stated) {
            (Some((_, at)), None) => {
                let fault = Mismatch::new("nothing", "the file's path, since tls_listen is there");
                reader.missing(section.key(name), at, fault.remedy(format!("add `{name} = \"…\"`")));
            }
            (None, Some((_, at))) => {
                let fault = Mismatch::new("it without tls_listen", "both or neither");
                reader.wrong(section.key(name), at, fault.remedy("add tls_listen, or remove this key"));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    Some(Tls { listen, certificate: certificate?, key: key? })
}
