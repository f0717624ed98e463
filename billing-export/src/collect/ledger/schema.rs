//! The tables of the PostgreSQL ledger, as numbered steps. A step never changes once a ledger was made with it.
//!
//! `{schema}` stands for the schema. Words are compared byte by byte (`COLLATE "C"`): the order of the database's language is
//! no order of identities, and may change with the system's libraries.

/// The steps, first first: applying those after the ledger's version makes it ours.
pub(super) const MIGRATIONS: &[&str] = &[VERSION_1];

/// The tables of the contract (`record`, `total`, `node`, `file`, `refusal`) and our own.
///
/// Own: `gateway` numbers the nodes; `span` holds which record numbers are taken, and that none is twice: PostgreSQL keeps no
/// unique key over a table partitioned by another column. `link` is the chain of manifests; `stranger` holds those that were refused as not of it, for what follows them is not of it
/// either. `adjustment` holds the adjust
/// rows with the day and account of the usage record they correct, once it is there.
const VERSION_1: &str = r#"
CREATE TABLE {schema}.setting (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    zone text NOT NULL,
    dropped_before date
);
CREATE TABLE {schema}.record (
    node_id text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    record_seq bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    ref_epoch bigint,
    ref_seq bigint,
    class text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    subscriber_type text COLLATE "C" NOT NULL,
    subscriber_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    service_id text COLLATE "C" NOT NULL,
    rating_group bigint,
    list_id text COLLATE "C" NOT NULL,
    list_serial bigint,
    start_utc timestamptz NOT NULL,
    end_utc timestamptz NOT NULL,
    up_bytes numeric(20,0),
    down_bytes numeric(20,0),
    up_bytes_total numeric(20,0),
    down_bytes_total numeric(20,0),
    byte_basis text COLLATE "C" NOT NULL,
    disposition text COLLATE "C" NOT NULL,
    cause text COLLATE "C" NOT NULL,
    flags text COLLATE "C" NOT NULL,
    local_day date NOT NULL,
    PRIMARY KEY (node_id, epoch, record_seq, local_day)
) PARTITION BY RANGE (local_day);
CREATE INDEX record_gap ON {schema}.record (local_day) WHERE kind = 'gap';
CREATE TABLE {schema}.total (
    local_day date NOT NULL,
    subscriber_type text COLLATE "C" NOT NULL,
    subscriber_id text COLLATE "C" NOT NULL,
    class text COLLATE "C" NOT NULL,
    service_id text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    disposition text COLLATE "C" NOT NULL,
    up_bytes numeric(38,0) NOT NULL CHECK (up_bytes >= 0),
    down_bytes numeric(38,0) NOT NULL CHECK (down_bytes >= 0),
    records bigint NOT NULL CHECK (records >= 0),
    PRIMARY KEY (local_day, subscriber_type, subscriber_id, class, service_id, reason, disposition)
) WITH (fillfactor = 60);
CREATE TABLE {schema}.node (
    node_id text COLLATE "C" PRIMARY KEY,
    file_seq bigint NOT NULL,
    epoch bigint NOT NULL,
    record_seq bigint NOT NULL,
    record_seq_seen bigint NOT NULL,
    end_utc timestamptz,
    holder text,
    lease_until timestamptz
);
CREATE TABLE {schema}.file (
    node_id text COLLATE "C" NOT NULL,
    file_seq bigint NOT NULL,
    epoch bigint NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node_id, file_seq)
);
CREATE TABLE {schema}.refusal (
    at timestamptz NOT NULL DEFAULT now(),
    source text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX refusal_once ON {schema}.refusal (source, name, md5(reason));
CREATE TABLE {schema}.gateway (
    node_id text COLLATE "C" PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE
);
CREATE TABLE {schema}.span (
    number bigint NOT NULL,
    epoch bigint NOT NULL,
    seqs int8range NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    CONSTRAINT span_once EXCLUDE USING gist (
        (int8range(number, number, '[]')) WITH &&,
        (int8range(epoch, epoch, '[]')) WITH &&,
        seqs WITH &&
    )
);
CREATE TABLE {schema}.link (
    node_id text COLLATE "C" NOT NULL,
    file_seq bigint NOT NULL,
    epoch bigint NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    begins_with_gap boolean NOT NULL,
    end_utc timestamptz NOT NULL,
    manifest_sha256 text COLLATE "C" NOT NULL,
    previous_manifest_sha256 text COLLATE "C",
    PRIMARY KEY (node_id, file_seq)
);
CREATE INDEX link_epoch ON {schema}.link (node_id, epoch, last_seq);
CREATE TABLE {schema}.stranger (
    node_id text COLLATE "C" NOT NULL,
    manifest_sha256 text COLLATE "C" NOT NULL,
    PRIMARY KEY (node_id, manifest_sha256)
);
CREATE TABLE {schema}.adjustment (
    node_id text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    record_seq bigint NOT NULL,
    ref_epoch bigint NOT NULL,
    ref_seq bigint NOT NULL,
    up_bytes numeric(20,0) NOT NULL,
    down_bytes numeric(20,0) NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('new', 'waiting', 'refused', 'applied')),
    source text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    local_day date,
    subscriber_type text COLLATE "C",
    subscriber_id text COLLATE "C",
    class text COLLATE "C",
    service_id text COLLATE "C",
    reason text COLLATE "C",
    disposition text COLLATE "C",
    PRIMARY KEY (node_id, epoch, record_seq)
);
CREATE INDEX adjustment_open ON {schema}.adjustment (node_id) WHERE state <> 'applied';
"#;
