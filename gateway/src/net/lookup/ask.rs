//! Questions to the operator's resolvers, through the resolver library, and what is believed of the answers.

use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use std::net::SocketAddr;

use super::{LookupError, LookupSettings};
use crate::wire::dns::{AnswerLimits, Found, Name, believe};

/// The operator's resolvers: as one that fails over, and each by itself.
#[derive(Clone)]
pub(super) struct Resolvers {
    /// All of them; the library prefers those that answer well.
    pub(super) all: TokioResolver,
    /// Each alone: two that answer differently are both right.
    pub(super) each: Vec<TokioResolver>,
    total_timeout: Duration,
    limits: AnswerLimits,
}

impl Resolvers {
    /// Those of the settings; `None` when there are none.
    pub(super) fn new(settings: &LookupSettings) -> Result<Option<Self>, String> {
        if settings.resolvers.is_empty() {
            return Ok(None);
        }
        let each: Result<Vec<_>, _> =
            settings.resolvers.iter().map(|server| resolver(settings, &[*server])).collect();
        Ok(Some(Self {
            all: resolver(settings, &settings.resolvers)?,
            each: each?,
            total_timeout: settings.total_timeout,
            limits: AnswerLimits { cnames_max: settings.cnames_max.into(), ..AnswerLimits::default() },
        }))
    }

    /// The addresses of `name`, of both families. One of the two is enough: there are resolvers that never answer for
    /// AAAA (RFC 4074 §3).
    pub(super) async fn addresses(
        &self,
        resolver: &TokioResolver,
        name: &DomainName,
    ) -> Result<Found, LookupError> {
        let (v4, v6) =
            tokio::join!(self.one(resolver, name, RecordType::A), self.one(resolver, name, RecordType::AAAA));
        match (v4, v6) {
            (Ok(mut found), Ok(more)) => {
                // A family without addresses says nothing about how long the other's hold.
                found.ttl = match (found.addresses.is_empty(), more.addresses.is_empty()) {
                    (false, false) => found.ttl.min(more.ttl),
                    (false, true) => found.ttl,
                    (true, false) => more.ttl,
                    (true, true) => 0,
                };
                found.addresses.extend(more.addresses);
                Ok(found)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.addresses.is_empty() => Ok(found),
            (Ok(_), Err(error)) | (Err(error), Ok(_) | Err(_)) => Err(error),
        }
    }

    /// What the service bindings of `name` hint at and lead to.
    pub(super) async fn bindings(
        &self,
        resolver: &TokioResolver,
        name: &DomainName,
    ) -> Result<Found, LookupError> {
        self.one(resolver, name, RecordType::HTTPS).await
    }

    /// The records of one type; none when the name has none, or when the answer is not believed.
    async fn one(
        &self,
        resolver: &TokioResolver,
        name: &DomainName,
        kind: RecordType,
    ) -> Result<Found, LookupError> {
        // The final dot: no search domain is ever appended to a listed name.
        let asked = resolver.lookup(format!("{name}."), kind);
        let found = match tokio::time::timeout(self.total_timeout, asked).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) if error.is_no_records_found() && !is_failure(&error) => {
                return Ok(Found::default());
            }
            // An answer, if not the wanted one.
            Ok(Err(NetError::Dns(_))) => return Err(LookupError::ServerFailure),
            Ok(Err(_)) | Err(_) => return Err(LookupError::Failed),
        };
        let Some(owner) = Name::from_host(name.as_str().as_bytes()) else { return Ok(Found::default()) };
        // CNAMEs in a circle, or too many: the resolver answered, and there is nothing to use.
        let mut found = believe(&owner, kind.into(), found.answers(), &self.limits).unwrap_or_default();
        found.addresses.iter_mut().for_each(|address: &mut IpAddr| *address = address.to_canonical());
        Ok(found)
    }
}

/// Whether an answer without records says that the server failed, not that there are none.
fn is_failure(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(found)) => {
            !matches!(found.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
        }
        _ => true,
    }
}

/// The resolver library, asked for exactly what the settings say: no hosts file, no search domains, no cache of its own.
fn resolver(settings: &LookupSettings, servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let servers = servers
        .iter()
        .map(|server| {
            let mut udp = ConnectionConfig::udp();
            udp.port = server.port();
            let mut tcp = ConnectionConfig::tcp();
            tcp.port = server.port();
            NameServerConfig::new(server.ip(), true, vec![udp, tcp])
        })
        .collect();
    let mut options = ResolverOpts::default();
    options.timeout = settings.try_timeout;
    options.attempts = usize::from(settings.tries.saturating_sub(1));
    options.edns0 = true;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.ndots = 0;
    // The chain of CNAMEs is judged by us.
    options.preserve_intermediates = true;
    TokioResolver::builder_with_config(
        ResolverConfig::from_parts(None, Vec::new(), servers),
        TokioRuntimeProvider::default(),
    )
    .with_options(options)
    .build()
    .map_err(|error| error.to_string())
}
