//! Every metric moves: those that one gateway with ordinary traffic moves are read from its page, each of the others names the
//! test that demands a value of it (fault F21: a metric that nobody had ever seen rise could not rise).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use support::ask::{A, ask, query};
use support::client::*;
use support::dns::Resolver;
use support::hellos::Hello;
use support::origin::Origin;
use support::plane::{exchange, start, with_plane};
use support::unbound::LISTED;
use support::{Gateway, LIST, PATIENCE, Setup, eventually, zone};

/// A site whose rule takes DNS evidence alone.
const MEDIA: &str = "media.example";
/// What may be exempt of one subscriber.
const LIMIT: usize = 1 << 20;
/// Bytes of one exchange, each way.
const STEP: usize = 16_384;
/// Where what nothing on the network can bring about is counted.
const COUNTED: &str = "gateway/src/app/node/status/count.rs";
/// The test there.
const FAULTS: &str = "f21_faults_of_our_own_are_counted";
/// Where metrics are declared.
const DECLARED: [&str; 4] = [
    "gateway/src/app/node/status/readings.rs",
    COUNTED,
    "gateway/src/net/node/event.rs",
    "gateway/src/net/dns/count.rs",
];
/// What moves each metric that ordinary traffic does not: the metric, a file, a test in it that demands a value other than 0.
const MOVED_BY: [(&str, &str, &str); 44] = [
    (
        "zrgw_accept_errors_total",
        "tests/gateway/live_limits.rs",
        "s_descriptor_exhaustion_neither_spins_nor_parks_and_is_got_over",
    ),
    (
        "zrgw_allowance_full_total",
        "tests/gateway/live_allowance.rs",
        "who_finds_no_free_counter_is_carried_and_charged_as_overload",
    ),
    (
        "zrgw_attention",
        "tests/gateway/live_operation.rs",
        "t39_f22_a_bad_table_or_configuration_leaves_the_old_and_wants_attention_while_the_node_stays_ready",
    ),
    (
        "zrgw_clock_steps_total",
        "tests/gateway/crash_clock.rs",
        "f13_f66_a_clock_years_ahead_for_a_moment_dates_no_record_and_is_told_once",
    ),
    // A file whose bytes do not add up would be a fault of ours.
    ("zrgw_conservation_mismatch_total", COUNTED, FAULTS),
    (
        "zrgw_datagrams_dropped_total",
        "tests/gateway/udp_limits.rs",
        "t42_flows_that_hold_all_they_may_take_at_most_20_kib_each_in_turn_and_interleaved",
    ),
    (
        "zrgw_dns_dnstap_total",
        "tests/gateway/dns_limits.rs",
        "t41_resolvers_that_tell_by_dnstap_are_limited_and_a_broken_frame_ends_its_own_connection_only",
    ),
    // The kernel takes every answer on loopback; that one it does not take is told stands in `outbox`.
    ("zrgw_dns_lost_total", "gateway/src/net/dns/count.rs", "every_event_has_a_counter_of_its_own"),
    ("zrgw_dns_refused_total", "gateway/src/net/dns/count.rs", "every_event_has_a_counter_of_its_own"),
    (
        "zrgw_dns_servers_down",
        "tests/gateway/dns_faults.rs",
        "s_a_refusal_is_told_to_every_query_that_waits_on_its_port",
    ),
    (
        "zrgw_dns_stale_total",
        "tests/gateway/dns_plane.rs",
        "s_silent_servers_first_get_old_answers_served_then_a_failure_and_another_is_asked",
    ),
    (
        "zrgw_dns_truncated_total",
        "tests/gateway/dns_shares.rs",
        "f17_f42_over_its_limit_a_source_is_told_to_come_over_tcp_and_is_served_there",
    ),
    (
        "zrgw_dns_tunnel_suspected_total",
        "tests/gateway/dns_tunnel.rs",
        "t22_s_dnstap_notices_whatever_the_answer_is_and_subscribers_alone",
    ),
    (
        "zrgw_dns_unparsed_total",
        "tests/gateway/dns_plane.rs",
        "n4_a_malformed_answer_is_relayed_and_counted_and_not_learnt",
    ),
    (
        "zrgw_ech_suspects_total",
        "tests/gateway/dns_evidence.rs",
        "i_t7_a_hello_that_shows_a_listed_name_with_another_s_published_key_is_counted",
    ),
    (
        "zrgw_edge",
        "tests/gateway/edge_tcp.rs",
        "s_fd_exhaustion_without_room_new_connections_pass_by_and_come_back_when_there_is_some",
    ),
    (
        "zrgw_edge_candidates",
        "tests/gateway/edge_candidates.rs",
        "only_flows_to_vouched_for_addresses_reach_the_gateway",
    ),
    (
        "zrgw_edge_candidates_full_total",
        "tests/gateway/edge_candidates.rs",
        "s_one_candidate_over_the_limit_passes_by_and_is_told_once",
    ),
    (
        "zrgw_edge_silent",
        "tests/gateway/edge_silence.rs",
        "f34_an_origin_whose_syns_are_lost_for_seconds_is_reached_and_taken_again",
    ),
    (
        "zrgw_edge_silent_full_total",
        "tests/gateway/edge_silence.rs",
        "f21_f31_what_finds_no_room_in_the_memory_is_counted",
    ),
    (
        "zrgw_edge_silent_total",
        "tests/gateway/edge_silence.rs",
        "f31_a_name_with_a_dead_aaaa_and_a_live_a_loads_at_the_next_try",
    ),
    (
        "zrgw_egress_dropped_packets_total",
        "tests/gateway/edge_shaper.rs",
        "f61_what_our_own_shaper_drops_of_a_download_is_not_counted",
    ),
    (
        "zrgw_exemption_suspended",
        "tests/gateway/live_allowance.rs",
        "t31_while_what_was_spent_cannot_be_read_nothing_is_exempt",
    ),
    (
        "zrgw_export_backlog_records",
        "tests/gateway/crash_disk.rs",
        "b16_a_full_disk_under_the_usage_files_holds_them_back_and_loses_nothing",
    ),
    // A task that panics would be a fault of ours.
    ("zrgw_flow_panics_total", COUNTED, FAULTS),
    (
        "zrgw_flows_over_limit_total",
        "tests/gateway/live_limits.rs",
        "f33_a_kind_of_subscriber_may_have_a_limit_of_its_own",
    ),
    (
        "zrgw_flows_shed_total",
        "tests/gateway/live_overload.rs",
        "s_the_longest_idle_make_room_and_busy_flows_are_left_alone",
    ),
    (
        "zrgw_list_pending_serial",
        "tests/gateway/live_lists.rs",
        "f6_an_edition_still_to_come_is_shown_as_pending_and_withdrawn_by_a_higher_serial",
    ),
    (
        "zrgw_flows_judged_again_total",
        "tests/gateway/live_sessions.rs",
        "b19_only_flows_of_a_changed_address_are_judged_again",
    ),
    (
        "zrgw_lookups_failing",
        "tests/gateway/live_answers.rs",
        "v6_while_no_resolver_answers_known_addresses_stay_exempt_and_unknown_ones_are_charged",
    ),
    (
        "zrgw_mark_errors_total",
        "tests/gateway/edge_tag.rs",
        "a_mark_that_cannot_be_set_is_told_once_and_the_flow_goes_on",
    ),
    // A reading of the kernel that contradicts what was moved would be a fault of ours, or of the kernel.
    ("zrgw_meter_mismatch_total", COUNTED, FAULTS),
    (
        "zrgw_overload_level",
        "tests/gateway/live_overload.rs",
        "s_without_memory_flows_are_carried_unread_and_steered_ones_wait",
    ),
    (
        "zrgw_refused_total",
        "tests/gateway/live_names.rs",
        "t23_a_steered_flow_with_a_forged_name_reaches_the_names_own_origin_only",
    ),
    (
        "zrgw_source_port_changed_total",
        "tests/gateway/edge_ports.rs",
        "s_port_exhaustion_a_port_that_rests_here_and_not_at_the_subscriber_is_changed_and_told",
    ),
    (
        "zrgw_source_ports_used_up_total",
        "tests/gateway/edge_ports.rs",
        "s_port_exhaustion_used_up_ports_are_told_and_further_addresses_carry_on",
    ),
    (
        "zrgw_sink_backlog_records",
        "tests/gateway/crash_sinks.rs",
        "a_sink_that_hangs_stops_neither_saving_nor_sealing_and_has_all_of_it_afterwards",
    ),
    (
        "zrgw_sink_errors_total",
        "tests/gateway/crash_sinks.rs",
        "a_sink_that_hangs_stops_neither_saving_nor_sealing_and_has_all_of_it_afterwards",
    ),
    (
        "zrgw_sink_watermark",
        "tests/gateway/crash_sinks.rs",
        "a_sink_that_hangs_stops_neither_saving_nor_sealing_and_has_all_of_it_afterwards",
    ),
    (
        "zrgw_socket_memory_bytes",
        "tests/gateway/live_memory.rs",
        "f14_receivers_who_never_read_hold_no_more_than_their_share_and_cost_nobody_else",
    ),
    (
        "zrgw_spliced_bytes_total",
        "tests/gateway/live_splice.rs",
        "t26_t30_bulk_moves_inside_the_kernel_and_each_byte_is_counted_once",
    ),
    (
        "zrgw_stalled_ended_total",
        "tests/gateway/live_memory.rs",
        "f14_memory_of_sockets_counts_and_comes_free_before_others_feel_it",
    ),
    (
        "zrgw_unanswered_given_up_total",
        "tests/gateway/udp_unanswered.rs",
        "f5_f17_flows_forged_in_a_subscribers_name_keep_none_of_his_own_out",
    ),
    (
        "zrgw_undecided_evicted_total",
        "tests/gateway/udp_undecided.rs",
        "t42_the_listeners_of_one_worker_share_its_places",
    ),
];

/// A file of the workspace.
fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in quotes, metrics by what they begin with.
fn names(text: &str) -> BTreeSet<String> {
    let quoted = text.split('"').filter(|part| part.starts_with("zrgw_"));
    let is_part = |part: &char| part.is_ascii_lowercase() || *part == '_';
    quoted.filter(|part| part.chars().all(|part| is_part(&part))).map(ToOwned::to_owned).collect()
}

/// All metrics.
fn declared() -> BTreeSet<String> {
    DECLARED.iter().flat_map(|path| names(&source(path))).collect()
}

/// The code of a test, by its name; metrics that have a name in its file stand in it as they are.
fn body(text: &str, test: &str) -> Option<String> {
    let (_, from) = text.split_once(&format!("fn {test}("))?;
    // It ends at a brace that stands where the function does.
    let margin = if text.contains(&format!("\nfn {test}(")) { "\n}\n" } else { "\n    }\n" };
    let mut code = from.split_once(margin)?.0.to_owned();
    for line in text.lines() {
        let named = line.strip_prefix("const ").and_then(|rest| rest.split_once(": &str = "));
        if let Some((name, metric)) = named.filter(|(_, value)| value.starts_with("\"zrgw_")) {
            code = code.replace(name, metric.trim_end_matches(';'));
        }
    }
    Some(code)
}

/// Whether a statement speaks of this metric, and does not merely say that it is 0.
fn demands(code: &str, metric: &str) -> bool {
    let is_next = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_lowercase() || next == '_');
    let speaks = |part: &&str| part.match_indices(metric).any(|(at, _)| is_next(&part[at + metric.len()..]));
    let is_zero = |part: &str| {
        let part: String = part.chars().filter(|part| !part.is_whitespace()).collect();
        ["),0)", "),0,", "\",0)", "==0", "==0.0"].iter().any(|zero| part.contains(zero))
    };
    code.split(';').filter(speaks).any(|part| !is_zero(part))
}

/// Metrics of the page that are not 0; each on it says what it counts.
fn moved(gateway: &Gateway) -> BTreeSet<String> {
    let (_, page) = gateway.ask("/metrics").expect("admin endpoint");
    for name in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(page.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    let values = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let not_zero = values.filter(|(_, value)| value.parse::<f64>().unwrap() != 0.0);
    not_zero.map(|(name, _)| name.split('{').next().unwrap().to_owned()).collect()
}

/// Waits until the metric is not 0, and adds all that are not.
fn await_moved(seen: &mut BTreeSet<String>, gateway: &Gateway, metrics: &[&str]) {
    let all = eventually(|| {
        seen.extend(moved(gateway));
        metrics.iter().all(|metric| seen.contains(*metric))
    });
    let still: Vec<_> = metrics.iter().filter(|metric| !seen.contains(**metric)).collect();
    assert!(all, "{still:?} stand still\n{}", gateway.log());
}

/// A hello that settles the name, and so many bytes more, all echoed.
fn browse(mut client: TcpStream, bytes: usize) {
    let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    for sent in std::iter::once(hello).chain((0..bytes.div_ceil(STEP)).map(|_| vec![7; STEP])) {
        client.write_all(&sent).unwrap();
        assert_eq!(read_exactly(&mut client, sent.len()), sent);
    }
    assert_eq!(finish(client), b"");
}

/// Asks for names as subscriber `number` does; each is answered.
fn look_up(number: u8, plane: SocketAddr, names: &[&str]) {
    for name in names {
        assert!(ask(subscriber(number), plane, &query(1, name, A), PATIENCE).is_some(), "{name}");
    }
}

/// Subscribers who are led here, browse until their allowance is spent, and ask for other names.
fn an_ordinary_evening(seen: &mut BTreeSet<String>) {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets()), ("unlisted.example", origin.octets())]);
    let setup = zone::far_from_midnight(Setup::new().proxied().steered().resolver(resolver.address));
    let setup = setup
        .port_map(&[(443, origin.port())])
        .set("allowance", "daily = \"1 MiB\"")
        .set("dns", "steer_addresses = [\"127.0.0.1\"]");
    let (gateway, plane) = start(with_plane(setup, &[resolver.address]));
    look_up(1, plane, &[LISTED, "unlisted.example"]);
    // Who stays below his limit has not reached it.
    browse(connect_from(subscriber(3), gateway.listener(1)), STEP);
    let counted = "zrgw_bytes_total{direction=\"up\",class=\"exempt\",service=\"school\"}";
    assert!(eventually(|| gateway.metric(counted) > STEP as u64), "{}", gateway.log());
    assert_eq!(gateway.metric("zrgw_allowance_reached_total"), 0);
    let idle = connect_from(subscriber(2), gateway.listener(1));
    browse(connect_from(subscriber(1), gateway.listener(1)), 2 * LIMIT);
    await_moved(seen, &gateway, &["zrgw_flows_open", "zrgw_bytes_total", "zrgw_allowance_reached_total"]);
    drop(idle);
    await_moved(seen, &gateway, &["zrgw_dns_steered_total", "zrgw_dns_answers_total"]);
    gateway.stop();
}

/// What subscribers' answers say of addresses: shared ones, those of their own, private ones, and more than there is room for.
fn answers_of_all_kinds(seen: &mut BTreeSet<String>) {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(MEDIA, origin.octets()), ("other-listed.example", origin.octets())]);
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        resolver.add(&format!("{name}.listed.example"), [127, 0, 2, 100 + number as u8]);
    }
    for name in ["one.example", "two.test"] {
        resolver.add(name, origin.octets());
    }
    resolver.add("nowhere.listed.example", [0, 0, 0, 0]);
    let rule = format!(
        "[[service.rule]]\nhost = \"{MEDIA}\"\nreason = \"test\"\nevidence = \"seen\"\ndns_only = true\n\n[[deny]]"
    );
    for pairs_max in [1, 1_000] {
        let setup = Setup::new()
            .proxied()
            .port_map(&[(443, origin.port())])
            .set("trusted_answers", &format!("pairs_max = {pairs_max}"))
            .set("trusted_answers", "pairs_per_rule_max = 2")
            .set("trusted_answers", "shared_subscribers_min = 2")
            .set("trusted_answers", "shared_domains_min = 2");
        setup.write("list.toml", LIST.replace("[[deny]]", &rule));
        let (gateway, plane) = start(with_plane(setup, &[resolver.address]));
        look_up(1, plane, &[MEDIA, "other-listed.example"]);
        if pairs_max == 1 {
            await_moved(seen, &gateway, &["zrgw_answers_no_room_total"]);
        } else {
            look_up(1, plane, &["a.listed.example", "b.listed.example", "c.listed.example"]);
            look_up(1, plane, &["nowhere.listed.example"]);
            let destination = SocketAddr::new(origin.address.ip(), 443);
            let nameless = Hello::bare().modern();
            exchange(connect_proxied(1, gateway.listener(0), destination), &nameless);
            await_moved(
                seen,
                &gateway,
                &["zrgw_dns_only_pairs", "zrgw_dns_only_subscribers", "zrgw_answers_displaced_total"],
            );
            for number in [2, 3] {
                look_up(number, plane, &["one.example", "two.test"]);
            }
            exchange(connect_proxied(1, gateway.listener(0), destination), &Hello::named(MEDIA));
            await_moved(
                seen,
                &gateway,
                &[
                    "zrgw_answers_private_total",
                    "zrgw_shared_addresses",
                    "zrgw_exempt_shared_address_bytes_total",
                ],
            );
        }
        gateway.stop();
    }
}

#[test]
fn f21_every_metric_of_a_running_gateway_moves_here_or_in_the_test_that_is_named_for_it() {
    let described = declared();
    let mut seen = BTreeSet::new();
    an_ordinary_evening(&mut seen);
    answers_of_all_kinds(&mut seen);
    let elsewhere: BTreeMap<_, _> =
        MOVED_BY.iter().map(|(metric, file, test)| (*metric, (*file, *test))).collect();
    let mut findings: Vec<String> = seen
        .iter()
        .filter(|metric| !described.contains(*metric))
        .map(|metric| format!("{metric} is not described"))
        .collect();
    findings.extend(
        elsewhere
            .keys()
            .filter(|metric| !described.contains(**metric))
            .map(|metric| format!("{metric} is no metric: remove it from MOVED_BY")),
    );
    for metric in described.iter().filter(|metric| !seen.contains(*metric)) {
        let Some((file, test)) = elsewhere.get(metric.as_str()) else {
            findings.push(format!(
                "nothing moves {metric}: make it move here, or name in MOVED_BY the test that does"
            ));
            continue;
        };
        match body(&source(file), test) {
            None => findings.push(format!("{metric}: {file} has no test {test}")),
            Some(code) if !demands(&code, metric) => {
                findings.push(format!("{metric}: {test} of {file} never demands that it is more than 0"));
            }
            Some(_) => {}
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// Names that stand in the code of the gateway are those that it describes.
#[test]
fn f21_every_metric_of_the_code_is_described() {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    below(&root, &mut files);
    let known = declared();
    assert!(known.len() > 60, "{known:?}");
    for file in &files {
        let unknown: Vec<_> = names(&fs::read_to_string(file).unwrap()).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} are not described", file.display());
    }
}

/// The reader of tests above is not fooled by a test that says a metric stays 0.
#[test]
fn only_a_value_other_than_zero_is_a_demand() {
    for none in [
        "assert_eq!(gateway.metric(\"zrgw_a_total\"), 0);",
        "assert_eq!(gateway.metric(\"zrgw_a_total\"), 0, \"at the limit\");",
        "gateway.await_metric(\"zrgw_a_total\", 0);",
        "assert!(lab.metric(\"zrgw_a_total\") == 0.0);",
        "gateway.await_metric(\"zrgw_a_total_more\", 1);",
    ] {
        assert!(!demands(none, "zrgw_a_total"), "{none}");
    }
    for some in [
        "gateway.await_metric(\"zrgw_a_total{label=\\\"x\\\"}\", 1);",
        "assert!(gateway.metric(\"zrgw_a_total\") > 0);",
        "assert_eq!(gateway.metric(\"zrgw_a_total\"), 0); let name = \"zrgw_a_total\";",
    ] {
        assert!(demands(some, "zrgw_a_total"), "{some}");
    }
}
