//! Room for flows: what the limit of open files leaves for them.

use config::{Config, FlowsMax};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

use super::{StartError, dns};

/// Descriptors kept for ledger, list, admin endpoint, look-ups and log, whatever the flows need.
const RESERVED_DESCRIPTORS: u64 = 256;
/// Descriptors of one flow: the subscriber's socket and the origin's.
const DESCRIPTORS_PER_FLOW: u64 = 2;
/// Descriptors of one pipe: its two ends.
const DESCRIPTORS_PER_PIPE: u64 = 2;

/// How many flows the descriptor limit has room for beside the workers' pipes; the soft limit is raised to the hard one
/// first.
pub(super) fn flows_max(config: &Config, workers: usize) -> Result<usize, StartError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let descriptors = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let pipes = (config.limits.splice_pipes_max as u64).saturating_mul(workers as u64);
    // Few of these are within the reserve: a socket of each listener, worker and transport, and a second descriptor of it for
    // the process that takes over.
    let listening = (config.listeners.len().saturating_add(config.sockets.len()) as u64)
        .saturating_mul(workers as u64)
        .saturating_mul(4);
    let reserved = RESERVED_DESCRIPTORS
        .max(RESERVED_DESCRIPTORS.saturating_div(2).saturating_add(listening))
        .saturating_add(pipes.saturating_mul(DESCRIPTORS_PER_PIPE))
        .saturating_add(dns::descriptors(config, workers));
    let room = descriptors.unwrap_or(u64::MAX).saturating_sub(reserved) / DESCRIPTORS_PER_FLOW;
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    let place = |key| config.place(key).map_or_else(|| "1:1".to_owned(), |place| place.to_string());
    match config.limits.flows_max {
        FlowsMax::Auto if room == 0 => Err(StartError::Config(format!(
            "{}: limits.flows_max: found a limit of {} open files, wanted more than {reserved}; raise RLIMIT_NOFILE (LimitNOFILE= of the service) or lower limits.splice_pipes_max",
            place("limits"),
            descriptors.unwrap_or(u64::MAX)
        ))),
        FlowsMax::Auto => Ok(room),
        FlowsMax::Count(wanted) if wanted <= room => Ok(wanted),
        FlowsMax::Count(wanted) => Err(StartError::Config(format!(
            "{}: limits.flows_max: found {wanted}; wanted at most {room}, for which the limit of open files has room; raise RLIMIT_NOFILE (LimitNOFILE= of the service) or write \"auto\"",
            place("limits.flows_max")
        ))),
    }
}
