//! How what was counted elsewhere moves the metrics.

use std::collections::HashSet;

use billing_export::{Account, Class, Reason, Usage};
use metrics::counter;

use crate::net::node::report::Report;

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
        meter_mismatches,
        usage,
        flows,
        refusals,
        dropped,
        evicted,
        panics,
        accept_errors,
        mark_errors,
        spliced_bytes,
        shared_exempt_bytes,
        ports_used_up,
        ports_changed,
        judged_again,
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
    counter!("zrgw_undecided_evicted_total").increment(*evicted);
    bytes(usage);
    counter!("zrgw_accept_errors_total").increment(*accept_errors);
    counter!("zrgw_mark_errors_total").increment(*mark_errors);
    counter!("zrgw_spliced_bytes_total").increment(*spliced_bytes);
    counter!("zrgw_exempt_shared_address_bytes_total").increment(*shared_exempt_bytes);
    counter!("zrgw_source_ports_used_up_total").increment(*ports_used_up);
    counter!("zrgw_source_port_changed_total").increment(*ports_changed);
    counter!("zrgw_flows_judged_again_total").increment(*judged_again);
    counter!("zrgw_meter_mismatch_total").increment(*meter_mismatches);
    for (direction, bytes) in [("up", stream_payload.up), ("down", stream_payload.down)] {
        counter!("zrgw_stream_payload_bytes_total", "direction" => direction).increment(bytes);
    }
    counter!("zrgw_flow_panics_total").increment(*panics);
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

#[cfg(test)]
mod tests {
    use billing_export::{Entry, Flags, Session, SubscriberType, Volume};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

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
            report(&Report { panics: 2, meter_mismatches: 3, ..Report::default() });
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
