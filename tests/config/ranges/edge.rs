//! The rows of `[edge]`, and of what marks packets.

use super::Row;

/// The rows of `[edge]`, and of what marks packets.
pub(super) const EDGE_ROWS: &[Row] = &[
    ("export", "egress_interfaces", &["[]", "[\"eth1\", \"ppp*\"]"], &["[\"*\"]", "\"eth1\"", "[1]"]),
    (
        "edge",
        "table",
        &["\"z\"", "\"abcdefghijklmnopqrstuvwxyz_01234\""],
        &["\"\"", "\"1z\"", "\"a b\"", "\"a;b\"", "\"abcdefghijklmnopqrstuvwxyz_012345\"", "1"],
    ),
    ("edge", "intercept", &["\"all\"", "\"candidates\""], &["\"none\"", "1"]),
    (
        "edge",
        "interfaces",
        &["[]", "[\"eth1\", \"ppp0.100\"]", "[\"ppp*\"]"],
        &[
            "[\"interface-is-too-long\"]",
            "[\"-x\"]",
            "[1]",
            "\"eth1\"",
            "[\"*\"]",
            "[\"p*p\"]",
            "[\"ppp**\"]",
        ],
    ),
    ("edge", "source_validation", &["false"], &["true", "1", "\"yes\""]),
    ("edge", "tcp_ports", &["[]", "[1, 65535]"], &["[0]", "[65536]", "443"]),
    ("edge", "udp_ports", &["[]", "[1, 65535]"], &["[0]", "[65536]", "443"]),
    ("edge", "divert_mark", &["1", "4294967295"], &["0", "4294967296"]),
    ("edge", "upstream_mark", &["1", "4294967295"], &["0", "4294967296", "31233"]),
    ("edge", "route_table", &["256", "4294967295"], &["255", "4294967296"]),
    ("edge", "rule_priority", &["1", "32765"], &["0", "32766"]),
    ("edge", "alive_timeout", &["\"1 s\"", "\"60 s\""], &["\"999 ms\"", "\"60001 ms\"", "3"]),
    ("edge", "candidates_max", &["1", "10000000"], &["0", "10000001"]),
    ("edge", "pin_dir", &["\"/sys/fs/bpf/x\"", "\"bpf\""], &["\"\"", "1"]),
    ("edge", "slots_max", &["1", "16777216"], &["0", "16777217"]),
    ("edge", "slots_per_subscriber_max", &["1", "16777216"], &["0", "16777217"]),
    (
        "edge",
        "ring_max",
        &["\"64 KiB\"", "\"1 GiB\""],
        &["\"65535 B\"", "\"96 KiB\"", "\"1025 MiB\"", "65536"],
    ),
    ("edge", "marks_timeout", &["\"1 s\"", "\"1 h\""], &["\"999 ms\"", "\"3601 s\"", "30"]),
    ("edge", "connection_timeout", &["\"60 s\"", "\"24 h\""], &["\"59 s\"", "\"86401 s\"", "7440"]),
    ("rating_group", "dscp", &["1", "63"], &["0", "64"]),
    ("rating_group", "fwmark", &["1", "4294967295"], &["0", "4294967296", "31233"]),
    ("rating_group", "mark_upstream", &["true", "false"], &["1"]),
    ("export", "release", &["\"none\"", "\"watermark-file\""], &["\"nats\"", "\"\"", "1"]),
    ("export", "watermark_file", &["\"a/b.json\"", "\"/a\""], &["\"\"", "1"]),
    ("export", "byte_basis", &["\"payload\""], &["\"ip\"", "\"bytes\"", "1"]),
];
