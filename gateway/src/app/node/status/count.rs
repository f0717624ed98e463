//! Metrics with labels, and those that are counted where they happen.

use std::collections::HashSet;

use billing_export::{Account, Class, Reason, Usage};
use metrics::{counter, gauge};

use super::SinkState;
use super::readings::reading;
use crate::net::dns::Plane;
use crate::net::edge::Aside;
use crate::net::node::event::Event;
use crate::net::node::report::Report;
use crate::net::radius::{Accounting, Figures};
use crate::net::sys::attention::{Attention, AttentionReason};

/// The metrics of this file and of the rest of `status`, with what each says.
pub(super) const DESCRIBED: [(&str, &str); 21] = [
    ("zrgw_flows_total", "Flows by the protocol that named them, and class and reason of the first verdict"),
    ("zrgw_bytes_total", "Bytes counted, by direction, class and listed service"),
    ("zrgw_refused_total", "Connections closed without being carried"),
    (
        "zrgw_datagrams_dropped_total",
        "Datagrams that went no further, by cause; their senders repeat what matters",
    ),
    ("zrgw_stream_payload_bytes_total", "Payload of subscribers' TCP connections, whatever the byte basis"),
    (
        "zrgw_allowance_reached_total",
        "Ticks (export.checkpoint) in which bytes of a subscriber with a service came to a cap: at least one each time",
    ),
    ("zrgw_conservation_mismatch_total", "Usage files whose bytes do not add up: an alarm"),
    ("zrgw_ticks_total", "Ticks (export.checkpoint): counts asked of every worker, to be saved"),
    ("zrgw_clock_steps_total", "Times the system's clock was set: doubted at once, then withdrawn or taken"),
    ("zrgw_lookups_total", "Look-ups of listed names by outcome"),
    ("zrgw_build_info", "Version of the gateway"),
    ("zrgw_attention", "1 while something else is wrong for this reason; /readyz says what"),
    ("zrgw_edge", "1 for what new flows do: taken by transparent listeners, or pass by and why"),
    ("zrgw_sink_watermark", "Number of the last usage file that a sink has, with all before it"),
    ("zrgw_sink_backlog_records", "Records sealed that a sink does not have"),
    ("zrgw_sink_last_success_timestamp_seconds", "When a sink last had all that was sealed"),
    ("zrgw_sink_errors_total", "Tries of a sink that failed"),
    ("zrgw_radius_requests_total", "Accounting requests, by client, status and what became of them"),
    (
        "zrgw_radius_dropped_total",
        "Datagrams that found no room at the sockets of accounting; access servers ask again",
    ),
    ("zrgw_radius_clock_doubts_total", "Accounting requests whose time was not believed"),
    ("zrgw_session_takeovers_total", "Addresses and sessions that changed hands without a Stop, by kind"),
];

/// Counts one worker's report, every field of it.
pub(super) fn report(report: &Report) {
    let Report {
        // The ledger's, held against the bytes by account there.
        seen: _,
        pending_after: _,
        // Gauges over all workers.
        flows_open: _,
        udp_flows_open: _,
        // One account may reach its cap at several workers in one tick: counted over all of them.
        capped: _,
        stream_payload,
        usage,
        flows,
        refusals,
        dropped,
        events,
    } = report;
    for (labels, count) in flows {
        counter!("zrgw_flows_total",
            "protocol" => labels.protocol.label(),
            "class" => labels.class.label(),
            "reason" => labels.reason.map_or("", Reason::label))
        .increment(*count);
    }
    for (refusal, count) in refusals {
        counter!("zrgw_refused_total", "reason" => refusal.label()).increment(*count);
    }
    for (cause, count) in dropped {
        counter!("zrgw_datagrams_dropped_total", "cause" => cause.label()).increment(*count);
    }
    for event in Event::ALL {
        counter!(event.metric()).increment(events.of(*event));
    }
    bytes(usage);
    for (direction, bytes) in [("up", stream_payload.up), ("down", stream_payload.down)] {
        counter!("zrgw_stream_payload_bytes_total", "direction" => direction).increment(bytes);
    }
}

/// Counts the bytes of these accounts.
pub(super) fn bytes(usage: &[Usage]) {
    for usage in usage {
        let class: Class = usage.account.entry.class();
        let service = usage.account.entry.service().map(ToString::to_string).unwrap_or_default();
        for (direction, bytes) in [("up", usage.volume.up), ("down", usage.volume.down)] {
            counter!("zrgw_bytes_total",
                "direction" => direction, "class" => class.label(), "service" => service.clone())
            .increment(bytes);
        }
    }
}

/// Counts the exempt accounts that reached a cap in one tick, each once.
pub(super) fn reached(capped: &[Account]) {
    let accounts: HashSet<&Account> = capped.iter().collect();
    counter!("zrgw_allowance_reached_total").increment(accounts.len() as u64);
}

/// Counts usage files whose bytes were not conserved.
pub(super) fn mismatches(files: u64) {
    counter!("zrgw_conservation_mismatch_total").increment(files);
}

/// Sets the counters of the DNS plane to what it has counted.
pub(super) fn dns(plane: &Plane) {
    for (metric, label, value, count) in plane.counts() {
        if label.is_empty() {
            counter!(metric).absolute(count);
        } else {
            counter!(metric, label => value).absolute(count);
        }
    }
}

/// Tells how a way out for records stands.
pub(super) fn sink(sink: &SinkState) {
    let id = || sink.id.clone();
    if let Some(standing) = sink.standing {
        gauge!("zrgw_sink_watermark", "sink" => id()).set(reading(standing.watermark));
        gauge!("zrgw_sink_backlog_records", "sink" => id()).set(reading(standing.backlog_records));
    }
    if let Some(at) = sink.last_success {
        gauge!("zrgw_sink_last_success_timestamp_seconds", "sink" => id())
            .set(reading(at.as_second().max(0).unsigned_abs()));
    }
    counter!("zrgw_sink_errors_total", "sink" => id()).absolute(sink.errors);
}

/// Tells what was heard of accounting.
pub(super) fn accounting(accounting: &Accounting) {
    let unknown = accounting.figures.unknown_clients();
    counter!("zrgw_radius_requests_total", "client" => "", "status" => "other", "result" => "unknown_client")
        .absolute(unknown);
    counter!("zrgw_radius_dropped_total").absolute(accounting.figures.dropped());
    for client in accounting.clients.load().iter() {
        let name = || client.name.to_string();
        for (status, result, count) in client.heard.requests() {
            counter!("zrgw_radius_requests_total", "client" => name(), "status" => status, "result" => result)
                .absolute(count);
        }
        counter!("zrgw_radius_clock_doubts_total", "client" => name()).absolute(client.heard.clock_doubts());
    }
    for (kind, count) in accounting.figures.takeovers() {
        counter!("zrgw_session_takeovers_total", "kind" => kind).absolute(count);
    }
    for (state, count) in Figures::STATES.into_iter().zip(accounting.figures.states()) {
        gauge!("zrgw_sessions", "state" => state).set(reading(count));
    }
}

/// Tells what wants attention, and what does not.
pub(super) fn attention(attention: &[Attention]) {
    for reason in AttentionReason::ALL.iter().copied() {
        let stands = attention.iter().any(|item| item.reason == reason);
        gauge!("zrgw_attention", "reason" => reason.label()).set(reading(u64::from(stands)));
    }
}

/// Tells what new flows do.
pub(super) fn edge(now: Aside) {
    for aside in Aside::ALL {
        gauge!("zrgw_edge", "state" => aside.label()).set(reading(u64::from(aside == now)));
    }
}

#[cfg(test)]
mod tests {
    use billing_export::{Entry, Flags, Session, SubscriberType, Volume};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::net::node::event::Events;

    /// The page after `count`.
    fn page(count: impl FnOnce()) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, count);
        recorder.handle().render()
    }

    /// Whether the page has this line.
    fn says(page: &str, line: &str) -> bool {
        page.lines().any(|found| found == line)
    }

    fn of(id: &str) -> Account {
        let session = Session::new(SubscriberType::Account, id, id).unwrap();
        Account { session, list: None, entry: Entry::Charged(Reason::NotListed) }
    }

    /// Faults of the gateway itself, which no traffic brings about.
    #[test]
    fn f21_faults_of_our_own_are_counted() {
        let page = page(|| {
            let mut events = Events::default();
            events.add(Event::Panic, 2);
            events.add(Event::MeterMismatch, 3);
            report(&Report { events, ..Report::default() });
            mismatches(4);
        });
        assert!(says(&page, "zrgw_flow_panics_total 2"), "{page}");
        assert!(says(&page, "zrgw_meter_mismatch_total 3"), "{page}");
        assert!(says(&page, "zrgw_conservation_mismatch_total 4"), "{page}");
    }

    #[test]
    fn f21_a_cap_reached_at_two_workers_in_one_tick_is_reached_once() {
        let page = page(|| reached(&[of("one"), of("two"), of("one")]));
        assert!(says(&page, "zrgw_allowance_reached_total 2"), "{page}");
    }

    #[test]
    fn bytes_of_both_directions_are_counted() {
        let volume = Volume { up: 5, down: 7 };
        let page = page(|| bytes(&[Usage { account: of("one"), flags: Flags::default(), volume }]));
        for (direction, bytes) in [("up", 5), ("down", 7)] {
            let line = format!(
                "zrgw_bytes_total{{direction=\"{direction}\",class=\"charged\",service=\"\"}} {bytes}"
            );
            assert!(says(&page, &line), "{page}");
        }
    }
}
