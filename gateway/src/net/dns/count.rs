//! What the DNS plane counts: a counter for each event. No name, address or subscriber is among it.

mod event;
mod metrics;

use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use self::event::{Dnstap, Event, Refused, Steered, Transport, Upstream};
pub use self::metrics::described;
use self::metrics::{METRICS, Metric, VALUES_MAX};

/// The counters.
#[derive(Default)]
pub(super) struct Counts {
    counters: [[AtomicU64; VALUES_MAX]; METRICS.len()],
}

impl Counts {
    /// Counts one event.
    pub(super) fn count(&self, event: Event) {
        self.count_many(event, 1);
    }

    /// Counts an event that happened so often.
    pub(super) fn count_many(&self, event: Event, times: usize) {
        let (metric, value) = event.place();
        if let Some(counter) = self.counters.get(metric).and_then(|values| values.get(value)) {
            counter.fetch_add(u64::try_from(times).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// How often an event was counted.
    #[cfg(test)]
    fn of(&self, event: Event) -> u64 {
        let (metric, value) = event.place();
        let counter = self.counters.get(metric).and_then(|values| values.get(value));
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// All of them: metric, label (empty: none), value of the label, count.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str, u64)> {
        self.counters.iter().zip(METRICS).flat_map(|(counters, Metric { name, label, values, .. })| {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            counters.iter().zip(values).map(move |(counter, value)| (name, label, *value, read(counter)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::metrics::RCODES;
    use super::*;

    #[test]
    fn every_event_has_a_counter_of_its_own() {
        let counts = Counts::default();
        let events = [
            (Event::Query(Transport::Tls), "zrgw_dns_queries_total", "tls"),
            (Event::Answer(3), "zrgw_dns_answers_total", "nxdomain"),
            (Event::Answer(16), "zrgw_dns_answers_total", "other"),
            (Event::Steered(Steered::Service), "zrgw_dns_steered_total", "service"),
            (Event::Refused(Refused::Connection), "zrgw_dns_refused_total", "connection"),
            (Event::Unparsed, "zrgw_dns_unparsed_total", ""),
            (Event::Stale, "zrgw_dns_stale_total", ""),
            (Event::Upstream(Upstream::GaveUpPort), "zrgw_dns_upstream_total", "gave_up_port"),
            (Event::Dnstap(Dnstap::Connection), "zrgw_dns_dnstap_total", "connection"),
            (Event::Lost, "zrgw_dns_lost_total", ""),
            (Event::TunnelSuspected, "zrgw_dns_tunnel_suspected_total", ""),
            (Event::Truncated, "zrgw_dns_truncated_total", ""),
        ];
        for (event, _, _) in events {
            counts.count(event);
            assert_eq!(counts.of(event), 1, "{event:?}");
        }
        for (_, metric, value) in events {
            let found = counts.all().find(|(name, _, label, _)| (*name, *label) == (metric, value));
            assert_eq!(found.map(|(_, _, _, count)| count), Some(1), "{metric} {value}");
        }
        assert_eq!(counts.all().map(|(_, _, _, count)| count).sum::<u64>(), 12);
        assert!(METRICS.iter().all(|metric| metric.values.len() <= VALUES_MAX));
        assert_eq!(METRICS[1].values[..RCODES.len()], RCODES);
    }
}
