//! Who may send accounting: the clients of the configuration, with the secrets of their files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use config::{AccountingKind, Config, RadiusClient};
use rustix::fs::OFlags;

use super::InputFault;
use crate::flow::session::accounting::{self, ClientKind};
use crate::net::radius::{Client, Clients, Heard, Secret};
use crate::wire::radius::SubscriberWord;

/// Permission bits of those who are neither the owner nor in his group.
const OTHERS: u32 = 0o007;

/// Reads the clients of a configuration. What was heard of a client `before` goes on under its name.
///
/// # Errors
/// Every secret that cannot be used, with the place of the key that names its file.
pub fn clients(config: &Config, before: &Clients) -> Result<Clients, InputFault> {
    let stated = config.radius.as_ref().map_or(&[][..], |radius| &radius.clients);
    let (mut clients, mut lines) = (Vec::new(), Vec::new());
    for (number, client) in stated.iter().enumerate() {
        let read = secret(&client.secret_file).and_then(|secret| Ok((secret, words(&client.subscriber)?)));
        match read {
            Ok((secret, words)) => {
                let same = before.iter().find(|known| *known.name == *client.name);
                let heard = same.map_or_else(Arc::<Heard>::default, |known| Arc::clone(&known.heard));
                clients.push(Client {
                    name: Arc::from(client.name.as_str()),
                    prefix: client.prefix,
                    secret,
                    words,
                    terms: terms(client),
                    heard,
                });
            }
            Err(problem) => {
                let at = config.at(&format!("radius.client[{number}].secret_file"));
                lines.push(format!("{at}: {}: {problem}", client.secret_file.display()));
            }
        }
    }
    if lines.is_empty() { Ok(Clients::new(clients)) } else { Err(InputFault { lines, unreadable: false }) }
}

/// The secret of a file that nobody else reads.
fn secret(path: &Path) -> Result<Secret, String> {
    let read = || -> io::Result<(Vec<u8>, u32)> {
        // Of a pipe that nobody writes to the opening would not come back.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("found no file that keeps what is written to it"));
        }
        let mode = found.mode();
        let mut octets = Vec::new();
        let limit = (Secret::FILE_OCTETS_MAX as u64).saturating_add(1);
        file.take(limit).read_to_end(&mut octets)?;
        Ok((octets, mode))
    };
    let (octets, mode) = read().map_err(|error| {
        format!("cannot be read: {error}; check the path and the permissions of the gateway's user")
    })?;
    if mode & OTHERS != 0 {
        return Err(format!(
            "found permissions {:o}, wanted none for others: whoever knows the secret decides whose an address is; `chmod o= FILE`",
            mode & 0o777
        ));
    }
    Secret::of(&octets).map_err(|error| error.to_string())
}

/// Where the subscriber stands.
fn words(stated: &[String]) -> Result<Vec<SubscriberWord>, String> {
    // The configuration has refused what is none.
    stated.iter().map(|word| word.parse().map_err(|error| format!("{error}"))).collect()
}

/// What decides over the client's sessions.
fn terms(client: &RadiusClient) -> accounting::Client {
    accounting::Client {
        realm: Arc::from(client.realm.as_str()),
        kind: match client.kind {
            AccountingKind::Access => ClientKind::Access,
            AccountingKind::Nat => ClientKind::Nat,
        },
        side: match client.side {
            config::Side::Inside => accounting::Side::Inside,
            config::Side::Outside => accounting::Side::Outside,
        },
        interim: client.interim,
        session_max: client.session_max,
        routes: client.routes,
    }
}
