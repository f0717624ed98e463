//! What each metric counts, in words, for `/metrics`.

use metrics::{Unit, describe_counter, describe_gauge};

/// Says of each metric what it counts and in which unit.
pub(super) fn describe() {
    describe_counter!(
        "zrgw_flows_total",
        "Flows by the protocol that named them, and class and reason of the first verdict"
    );
    describe_counter!(
        "zrgw_bytes_total",
        Unit::Bytes,
        "Bytes counted, by direction, class and listed service"
    );
    describe_counter!("zrgw_refused_total", "Connections closed without being carried");
    describe_counter!(
        "zrgw_datagrams_dropped_total",
        "Datagrams that went no further, by cause; their senders repeat what matters"
    );
    describe_counter!(
        "zrgw_undecided_evicted_total",
        "UDP flows without a name given up for newer ones (limits.undecided_flows_max)"
    );
    describe_counter!(
        "zrgw_clock_steps_total",
        "Times the system's clock was set: doubted at once, then withdrawn or taken"
    );
    describe_counter!("zrgw_lookups_total", "Look-ups of listed names by outcome");
    describe_counter!("zrgw_conservation_mismatch_total", "Usage files whose bytes do not add up: an alarm");
    describe_counter!("zrgw_accept_errors_total", "Errors of accept(2)");
    describe_counter!(
        "zrgw_mark_errors_total",
        "Marks (DSCP, fwmark) that could not be set or taken back: the core sees flows otherwise than the export does"
    );
    describe_counter!("zrgw_spliced_bytes_total", Unit::Bytes, "Bytes that moved inside the kernel");
    describe_counter!(
        "zrgw_source_ports_used_up_total",
        "Connections for which no port was free towards their destination: an alarm. Remedy: upstream.source_addresses"
    );
    describe_counter!(
        "zrgw_source_port_changed_total",
        "Transparent flows that left from another port than the subscriber's, whose was taken"
    );
    describe_gauge!("zrgw_allowance_counters", "Counters of allowances held (allowance.counters_max)");
    describe_counter!(
        "zrgw_allowance_full_total",
        "Verdicts that were overload because no counter was free. Remedy: allowance.counters_max"
    );
    describe_counter!(
        "zrgw_allowance_reached_total",
        "Ticks (export.checkpoint) in which bytes of a subscriber with a service came to a cap: at least one each time"
    );
    describe_counter!(
        "zrgw_exempt_shared_address_bytes_total",
        Unit::Bytes,
        "Bytes exempt at addresses that serve other sites too: what domain fronting could hide in"
    );
    describe_counter!(
        "zrgw_meter_mismatch_total",
        "Readings of TCP_INFO at which less had passed than the gateway moved; anything but 0 is a fault"
    );
    describe_counter!(
        "zrgw_stream_payload_bytes_total",
        Unit::Bytes,
        "Payload of subscribers' TCP connections, whatever the byte basis"
    );
    describe_counter!("zrgw_flow_panics_total", "Flows lost to a fault of the gateway: an alarm");
    describe_counter!("zrgw_dns_queries_total", "DNS queries by transport");
    describe_counter!("zrgw_dns_answers_total", "DNS answers given by response code");
    describe_counter!("zrgw_dns_steered_total", "DNS questions answered by the gateway itself");
    describe_counter!("zrgw_dns_refused_total", "DNS queries not passed on by cause");
    describe_counter!("zrgw_dns_unparsed_total", "DNS answers relayed that could not be read");
    describe_counter!("zrgw_dns_stale_total", "Old DNS answers given while the resolvers were silent");
    describe_counter!("zrgw_dns_upstream_total", "What became of queries to the resolvers");
    describe_counter!("zrgw_dns_dnstap_total", "What came over dnstap");
    describe_counter!("zrgw_dns_lost_total", "DNS answers that their client could not be sent");
    describe_counter!(
        "zrgw_dns_tunnel_suspected_total",
        "Times that a client's DNS questions below one domain looked like a tunnel"
    );
    describe_counter!(
        "zrgw_dns_truncated_total",
        "DNS queries of sources over their limit that were told to come over TCP"
    );
    describe_gauge!("zrgw_dns_stale_answers", "Old DNS answers held");
    describe_gauge!("zrgw_dns_servers_down", "Resolvers that do not answer");
    describe_gauge!("zrgw_build_info", "Version of the gateway");
    describe_gauge!("zrgw_list_serial", "Serial of the list in force; 0 without one");
    describe_gauge!(
        "zrgw_list_pending_serial",
        "Serial of the accepted list that comes into force next; 0 without one"
    );
    describe_gauge!("zrgw_list_age_seconds", Unit::Seconds, "Time since the list in force was issued");
    describe_gauge!("zrgw_sessions", "Address prefixes with a subscriber");
    describe_counter!(
        "zrgw_flows_judged_again_total",
        "Verdicts taken again on open flows because list, rating, a date or their session changed"
    );
    describe_gauge!("zrgw_flows_open", "Flows open at the last tick");
    describe_counter!(
        "zrgw_ticks_total",
        "Ticks (export.checkpoint): counts asked of every worker, to be saved"
    );
    describe_gauge!("zrgw_export_backlog_records", "Records sealed and not yet published");
    describe_gauge!(
        "zrgw_export_last_success_timestamp_seconds",
        Unit::Seconds,
        "When counts were last saved"
    );
    describe_gauge!(
        "zrgw_sink_watermark",
        "Number of the last usage file that a sink has, with all before it"
    );
    describe_gauge!("zrgw_sink_backlog_records", "Records sealed that a sink does not have");
    describe_gauge!(
        "zrgw_sink_last_success_timestamp_seconds",
        Unit::Seconds,
        "When a sink last had all that was sealed"
    );
    describe_counter!("zrgw_sink_errors_total", "Tries of a sink that failed");
    describe_gauge!("zrgw_trusted_answers", "Pairs of listed name and address that are vouched for");
    describe_gauge!(
        "zrgw_shared_addresses",
        "Addresses of listed names that count as shared with other sites for everybody"
    );
    describe_gauge!("zrgw_dns_only_pairs", "Pairs of subscribers' own look-ups, for rules with dns_only");
    describe_gauge!("zrgw_dns_only_subscribers", "Subscribers with such pairs");
    describe_counter!("zrgw_answers_private_total", "Answers not learnt: private or our own addresses");
    describe_counter!("zrgw_answers_no_room_total", "Answers not learnt: the maps are full");
    describe_counter!("zrgw_answers_displaced_total", "Names below rules displaced from the trusted answers");
    describe_counter!(
        "zrgw_ech_suspects_total",
        "Hellos whose outer name and ECH key do not belong together"
    );
    describe_gauge!(
        "zrgw_lookups_failing",
        "1 while no resolver answers our own look-ups: unknown addresses are charged, an alarm"
    );
    describe_gauge!(
        "zrgw_edge",
        "1 for what new flows do: taken by transparent listeners, or pass by and why"
    );
    describe_gauge!("zrgw_edge_candidates", "Addresses whose flows the kernel leads here");
    describe_counter!(
        "zrgw_edge_candidates_full_total",
        "Times an address or prefix found no room among them (edge.candidates_max)"
    );
    describe_gauge!(
        "zrgw_edge_silent",
        "Pairs of subscriber and destination that pass by since the destination did not answer"
    );
    describe_counter!("zrgw_edge_silent_total", "Connections that their destinations did not take");
    describe_counter!(
        "zrgw_edge_silent_full_total",
        "Those that found no room in the memory (edge.silent_max, edge.silent_per_subscriber_max)"
    );
    describe_gauge!(
        "zrgw_overload_level",
        "0 enough memory; 1 timers shortened; 2 new flows not read, steered ones wait; 3 led past (limits.memory_max)"
    );
    describe_counter!(
        "zrgw_flows_shed_total",
        "Flows ended because there was hardly room for new ones: of whoever holds most, and of UDP that nobody answers"
    );
    describe_gauge!(
        "zrgw_socket_memory_bytes",
        Unit::Bytes,
        "Memory that sockets of TCP flows hold in the kernel; it counts into limits.memory_max"
    );
    describe_counter!(
        "zrgw_stalled_ended_total",
        "Flows ended because their receivers took nothing and held too much (limits.socket_memory_per_subscriber_max)"
    );
    describe_counter!(
        "zrgw_unanswered_given_up_total",
        "UDP flows that nobody had answered and that gave way to newer ones (limits.unanswered_per_subscriber_max, limits.flows_max)"
    );
    describe_counter!(
        "zrgw_flows_over_limit_total",
        "Flows beyond what their subscribers may have, carried unread and charged as overload (limits.flows_per_subscriber_max)"
    );
    describe_counter!("zrgw_egress_dropped_packets_total", "Packets that our interfaces dropped, at most");
    describe_gauge!("zrgw_exemption_suspended", "1 while counts cannot be saved and nothing is exempt");
    describe_gauge!("zrgw_ready", "1 while traffic is carried and judged by a good list");
    describe_gauge!("zrgw_attention", "1 while something else is wrong for this reason; /readyz says what");
}
