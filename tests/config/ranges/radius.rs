//! The rows of `[radius]` and `[[radius.client]]`.

use super::Row;

/// The rows of `[radius]` and `[[radius.client]]`.
pub(super) const RADIUS_ROWS: &[Row] = &[
    (
        "radius",
        "listen",
        &["[\"0.0.0.0:1813\", \"[::]:1813\"]", "[\"127.0.0.1:0\"]"],
        &["[]", "\"127.0.0.1:1813\"", "[\"127.0.0.1:1\", \"127.0.0.1:1\"]"],
    ),
    ("radius", "history", &["\"1 min\"", "\"90 d\""], &["\"59 s\"", "\"7776001 s\"", "7"]),
    ("radius", "adopt", &["\"0 s\"", "\"10 min\""], &["\"600001 ms\"", "30"]),
    ("radius", "trust_gap", &["\"0 s\"", "\"1 h\""], &["\"3600001 ms\"", "30"]),
    ("radius", "sessions_max", &["1", "100000000"], &["0", "100000001"]),
    (
        "radius.client",
        "name",
        &["\"a\"", "\"0-1\""],
        &["\"\"", "\"A\"", "\"a.b\"", "1", "\"0123456789abcdef0123456789abcdef0\""],
    ),
    ("radius.client", "prefix", &["\"10.0.0.1\"", "\"2001:db8::/32\""], &["\"10.0.0.1/24\"", "\"bng\"", "1"]),
    ("radius.client", "secret_file", &["\"/run/secret\""], &["\"\"", "1"]),
    ("radius.client", "realm", &["\"north\""], &["\"\"", "\"North\"", "1"]),
    ("radius.client", "kind", &["\"nat\""], &["\"Nat\"", "1"]),
    ("radius.client", "side", &["\"outside\""], &["\"both\"", "1"]),
    (
        "radius.client",
        "subscriber",
        &["[\"class:account\"]", "[\"vsa-10415-1:imsi\", \"chargeable-user-identity:msisdn\"]"],
        &[
            "[]",
            "[\"user-name\"]",
            "[\"user-name:mac\"]",
            "[\"nas-port:account\"]",
            "[\"vsa-1:account\"]",
            "\"class:account\"",
        ],
    ),
    ("radius.client", "interim", &["\"1 s\"", "\"24 h\"", "\"none\""], &["\"999 ms\"", "\"86401 s\"", "600"]),
    ("radius.client", "session_max", &["\"1 min\"", "\"90 d\""], &["\"59 s\"", "\"7776001 s\""]),
    ("radius.client", "routes", &["true"], &["\"true\"", "1"]),
    ("radius.client", "octets", &["\"swapped\""], &["\"rfc2866\"", "1"]),
];
