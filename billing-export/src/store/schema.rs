//! The tables of the ledger, with their meaning beside them: an auditor reads them with `sqlite3`.

/// Marks the file as ours: "ZRGW" in ASCII (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i64 = 0x5a52_4757;
/// Says whether [`ALLOWANCES`] is there.
pub(super) const HAS_ALLOWANCES: &str = "SELECT count(*) FROM sqlite_schema WHERE name = 'spent'";
/// Allowances, which came later than the rest of version 1.
pub(super) const ALLOWANCES: &str = "
ALTER TABLE counter ADD COLUMN capped INTEGER NOT NULL DEFAULT 0 CHECK (capped IN (0, 1));  -- a cap was reached

CREATE TABLE spent (                   -- what subscribers have had exempt under allowances, in spans that last
    subscriber_type TEXT    NOT NULL,
    subscriber_id   TEXT    NOT NULL,
    allowance       TEXT    NOT NULL,      -- 'overall', 'shared_addresses', 'group:ID'
    span            TEXT    NOT NULL,      -- 'day 2026-11-25', 'month 2026-11-01', in the zone of the configuration
    bytes           INTEGER NOT NULL CHECK (bytes >= 0),   -- both directions
    PRIMARY KEY (subscriber_id, subscriber_type, allowance, span)
) STRICT, WITHOUT ROWID;
";

/// What version 2 adds: checks of every row that is not sealed (`check.rs` says of what), and a place for rows that do not
/// agree with theirs.
pub(super) const CHECKS: &str = "
ALTER TABLE counter ADD COLUMN row_check BLOB NOT NULL DEFAULT x'';
ALTER TABLE total   ADD COLUMN row_check BLOB NOT NULL DEFAULT x'';
ALTER TABLE spent   ADD COLUMN row_check BLOB NOT NULL DEFAULT x'';
ALTER TABLE segment ADD COLUMN damaged      INTEGER NOT NULL DEFAULT 0 CHECK (damaged IN (0, 1));  -- rows were set aside
ALTER TABLE segment ADD COLUMN counters_sum BLOB NOT NULL DEFAULT x'';  -- of the checks of all counters
ALTER TABLE segment ADD COLUMN row_check    BLOB NOT NULL DEFAULT x'';
ALTER TABLE node    ADD COLUMN totals_sum   BLOB NOT NULL DEFAULT x'';  -- of the checks of all totals
ALTER TABLE node    ADD COLUMN spent_sum    BLOB NOT NULL DEFAULT x'';  -- of the checks of all that was spent
ALTER TABLE node    ADD COLUMN boot_id      TEXT;                       -- of the machine at the last start
ALTER TABLE node    ADD COLUMN row_check    BLOB NOT NULL DEFAULT x'';  -- with that of the segment: new at every tick

CREATE TABLE set_aside (               -- rows that are in no record and will not be: for whoever looks into it
    id      INTEGER PRIMARY KEY,
    at_utc  TEXT    NOT NULL,              -- when it was found
    epoch   INTEGER NOT NULL,              -- of the node then
    source  TEXT    NOT NULL,              -- the table it stood in
    why     TEXT    NOT NULL,
    content TEXT    NOT NULL               -- the row as it was found: JSON by column
) STRICT;
";

/// The first version of which each file says its format.
pub(super) const VERSION_WITH_FORMATS: i64 = 3;
/// What version 3 adds: the version of each file's columns. Everything sealed before has those of the first.
pub(super) const FORMATS: &str = "
ALTER TABLE file ADD COLUMN format INTEGER NOT NULL DEFAULT 1 CHECK (format >= 1);  -- whose columns it has, as its manifest

DROP TRIGGER file_is_immutable;
CREATE TRIGGER file_is_immutable BEFORE UPDATE OF file_seq, epoch, name, byte_basis, records, first_seq, last_seq,
    up_bytes, down_bytes, seen_up, seen_down, pending_before_up, pending_before_down, pending_after_up,
    pending_after_down, conserved, sha256, previous_manifest_sha256, manifest_sha256, format ON file
    BEGIN SELECT RAISE (ABORT, 'a sealed file is never changed: only its phase is'); END;
";

/// What version 4 adds: how far each file is at each sink. Until then there was one, the folder of usage files, and how far a
/// file was stood beside it.
pub(super) const DELIVERIES: &str = "
CREATE TABLE delivery (                -- sealed files at sinks; a file that a sink has not begun has no row
    sink       TEXT    NOT NULL,           -- 'files' is the folder of usage files
    file_seq   INTEGER NOT NULL,           -- 0: the sink began before there was a file
    phase      TEXT    NOT NULL            -- the sink has all up to its highest that is published
        CHECK (phase IN ('sealed', 'data_ready', 'manifest_ready', 'published')),
    attempts   INTEGER NOT NULL CHECK (attempts >= 0),     -- tries that ended, the one that succeeded among them
    last_error TEXT,                       -- of the last try; null where it succeeded, or goes on
    PRIMARY KEY (sink, file_seq)
) STRICT, WITHOUT ROWID;

INSERT INTO delivery (sink, file_seq, phase, attempts)
    SELECT 'files', file_seq, phase, phase = 'published' FROM file WHERE phase <> 'sealed';
CREATE INDEX delivery_open ON delivery (sink, file_seq) WHERE phase <> 'published';

DROP INDEX file_unpublished;
DROP TRIGGER file_is_immutable;
ALTER TABLE file DROP COLUMN phase;
CREATE TRIGGER file_is_immutable BEFORE UPDATE ON file
    BEGIN SELECT RAISE (ABORT, 'a sealed file is never changed'); END;
";

/// What version 5 adds: corrections, and where the node's directories are, so that a correction can be sealed while it is away.
///
/// A correction stands in a table of its own, for its bytes have a sign and it keeps what is in no file: the note, the request.
pub(super) const CORRECTIONS: &str = "
CREATE TABLE adjust (                  -- sealed corrections, each the one record of its file, never changed
    epoch            INTEGER NOT NULL,
    record_seq       INTEGER NOT NULL,
    ref_epoch        INTEGER NOT NULL,     -- the usage or adjust record it corrects
    ref_seq          INTEGER NOT NULL,
    usage_epoch      INTEGER NOT NULL,     -- the usage record at the end of the references
    usage_seq        INTEGER NOT NULL,
    class            TEXT    NOT NULL,     -- from here to down_bytes_total as in the usage file
    reason           TEXT,
    subscriber_type  TEXT    NOT NULL,
    subscriber_id    TEXT    NOT NULL,
    session_id       TEXT    NOT NULL,
    service_id       TEXT,
    rating_group     INTEGER,
    list_id          TEXT,
    list_serial      INTEGER,
    start_utc        TEXT    NOT NULL,     -- of the usage record
    end_utc          TEXT    NOT NULL,     -- of the records sealed before it
    up_bytes         INTEGER NOT NULL,
    down_bytes       INTEGER NOT NULL,
    up_bytes_total   INTEGER NOT NULL CHECK (up_bytes_total >= 0),
    down_bytes_total INTEGER NOT NULL CHECK (down_bytes_total >= 0),
    disposition      TEXT,
    request          TEXT    NOT NULL UNIQUE,  -- random, of whoever asked: asked twice, it is made once
    at_utc           TEXT    NOT NULL,     -- when it was made
    note             TEXT    NOT NULL,     -- why, in somebody's words; it never leaves the state
    PRIMARY KEY (epoch, record_seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX adjust_of_usage ON adjust (usage_epoch, usage_seq);
CREATE TRIGGER adjust_is_immutable BEFORE UPDATE ON adjust
    BEGIN SELECT RAISE (ABORT, 'a sealed record is never changed: corrections are adjust records'); END;
CREATE TRIGGER adjust_is_kept BEFORE DELETE ON adjust
    BEGIN SELECT RAISE (ABORT, 'a sealed record is never deleted'); END;

CREATE TABLE place (                   -- one row: directories of the node at its last start, as bytes of their paths
    only        INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    pickup_dir  BLOB    NOT NULL,
    staging_dir BLOB    NOT NULL,          -- where the witness stands
    memory_dir  BLOB                       -- where the second one does
) STRICT;
";

/// What version 5 adds too: files whose records have left the state.
pub(super) const RELEASES: &str = "
CREATE TABLE released (                -- files whose records have left the state: billing's ledger and every sink had them
    file_seq  INTEGER PRIMARY KEY REFERENCES file (file_seq),  -- its row stays: names, sums, hashes
    epoch     INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    at_utc    TEXT    NOT NULL,
    watermark INTEGER NOT NULL             -- the last file that billing's ledger had then
) STRICT;

CREATE INDEX released_records ON released (epoch, last_seq);
CREATE TRIGGER released_is_immutable BEFORE UPDATE ON released
    BEGIN SELECT RAISE (ABORT, 'what was released is never changed'); END;
CREATE TRIGGER released_is_kept BEFORE DELETE ON released
    BEGIN SELECT RAISE (ABORT, 'what was released is never forgotten'); END;
DROP TRIGGER record_is_kept;
CREATE TRIGGER record_is_kept BEFORE DELETE ON record
    WHEN NOT EXISTS (SELECT 1 FROM released WHERE epoch = OLD.epoch AND last_seq >= OLD.record_seq
        AND first_seq <= OLD.record_seq)
    BEGIN SELECT RAISE (ABORT, 'a sealed record is never deleted before its file is released'); END;
";

/// What version 5 adds as well: what a sink keeps of a file, in words of its own, such as what it has counted up to there.
pub(super) const KEPT: &str = "
ALTER TABLE delivery ADD COLUMN kept TEXT;   -- what the sink keeps of the file, as JSON; written with the phase it belongs to
";

/// Version 1.
pub(super) const SCHEMA: &str = "
CREATE TABLE node (                    -- one row: who writes this ledger, and what the next numbers are
    only              INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    node_id           TEXT    NOT NULL,
    epoch             INTEGER NOT NULL CHECK (epoch >= 1),
    next_record_seq   INTEGER NOT NULL CHECK (next_record_seq >= 1),   -- contiguous in the epoch
    next_file_seq     INTEGER NOT NULL CHECK (next_file_seq >= 1),     -- rises over all epochs
    byte_basis        TEXT    NOT NULL CHECK (byte_basis IN ('ip', 'payload')),  -- of the open counters
    start_id          TEXT,                -- random id of the last completed start; the witness file has it too
    pending_start_id  TEXT,                -- a start that was begun
    pending_witness   TEXT,                -- what the witness said when it was begun
    running           INTEGER NOT NULL CHECK (running IN (0, 1)),      -- 1 between a start and a clean stop
    tick_sequence     INTEGER NOT NULL     -- last tick applied in this run; 0 before the first
) STRICT;

CREATE TABLE segment (                 -- one row: the time since the last seal and its figures
    only                INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    start_utc           TEXT    NOT NULL,
    end_utc             TEXT    NOT NULL,  -- end of the billing period: sealed then at the latest
    high_water_utc      TEXT,              -- latest time a tick has shown
    stepped             INTEGER NOT NULL CHECK (stepped IN (0, 1)),    -- the clock was set
    recovered           INTEGER NOT NULL CHECK (recovered IN (0, 1)),  -- open at an unclean stop
    seen_up             INTEGER NOT NULL CHECK (seen_up >= 0),         -- counted at the sockets
    seen_down           INTEGER NOT NULL CHECK (seen_down >= 0),
    pending_before_up   INTEGER NOT NULL CHECK (pending_before_up >= 0),  -- without a verdict at the start
    pending_before_down INTEGER NOT NULL CHECK (pending_before_down >= 0),
    pending_after_up    INTEGER NOT NULL CHECK (pending_after_up >= 0),   -- without a verdict at the last tick
    pending_after_down  INTEGER NOT NULL CHECK (pending_after_down >= 0),
    usage_up            INTEGER NOT NULL CHECK (usage_up >= 0),        -- sum of the open counters
    usage_down          INTEGER NOT NULL CHECK (usage_down >= 0)
) STRICT;

CREATE TABLE total (                   -- running totals of this epoch, up to the last seal
    id              INTEGER PRIMARY KEY,
    subscriber_type TEXT    NOT NULL,
    subscriber_id   TEXT    NOT NULL,
    session_id      TEXT    NOT NULL,
    class           TEXT    NOT NULL,
    service_id      TEXT    NOT NULL,      -- '' unless exempt
    reason          TEXT    NOT NULL,      -- '' if exempt
    up_bytes        INTEGER NOT NULL CHECK (up_bytes >= 0),
    down_bytes      INTEGER NOT NULL CHECK (down_bytes >= 0),
    UNIQUE (subscriber_id, session_id, subscriber_type, class, service_id, reason)
) STRICT;

CREATE TABLE counter (                 -- bytes since the last seal: a row of the next file each
    id           INTEGER PRIMARY KEY,
    total_id     INTEGER NOT NULL REFERENCES total (id),
    list_id      TEXT,
    list_serial  INTEGER,
    rating_group INTEGER,
    disposition  TEXT,
    up_bytes     INTEGER NOT NULL CHECK (up_bytes >= 0),
    down_bytes   INTEGER NOT NULL CHECK (down_bytes >= 0),
    flags        TEXT    NOT NULL
) STRICT;

CREATE TABLE record (                  -- sealed: columns as in the usage file, never changed
    epoch            INTEGER NOT NULL,
    record_seq       INTEGER NOT NULL,
    kind             TEXT    NOT NULL CHECK (kind IN ('usage', 'heartbeat', 'gap')),
    class            TEXT,
    reason           TEXT,
    subscriber_type  TEXT,
    subscriber_id    TEXT,
    session_id       TEXT,
    service_id       TEXT,
    rating_group     INTEGER,
    list_id          TEXT,
    list_serial      INTEGER,
    start_utc        TEXT    NOT NULL,
    end_utc          TEXT    NOT NULL,
    up_bytes         INTEGER CHECK (up_bytes >= 0),
    down_bytes       INTEGER CHECK (down_bytes >= 0),
    up_bytes_total   INTEGER CHECK (up_bytes_total >= up_bytes),
    down_bytes_total INTEGER CHECK (down_bytes_total >= down_bytes),
    disposition      TEXT,
    cause            TEXT,
    flags            TEXT    NOT NULL,
    PRIMARY KEY (epoch, record_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE file (                    -- which records make which file, and the figures of its manifest
    file_seq                 INTEGER PRIMARY KEY,
    epoch                    INTEGER NOT NULL,
    name                     TEXT    NOT NULL UNIQUE,     -- without ending
    byte_basis               TEXT    NOT NULL,
    records                  INTEGER NOT NULL CHECK (records = last_seq - first_seq + 1),
    first_seq                INTEGER NOT NULL,
    last_seq                 INTEGER NOT NULL,
    up_bytes                 INTEGER NOT NULL,
    down_bytes               INTEGER NOT NULL,
    seen_up                  INTEGER NOT NULL,
    seen_down                INTEGER NOT NULL,
    pending_before_up        INTEGER NOT NULL,
    pending_before_down      INTEGER NOT NULL,
    pending_after_up         INTEGER NOT NULL,
    pending_after_down       INTEGER NOT NULL,
    conserved                INTEGER NOT NULL CHECK (conserved IN (0, 1)),
    sha256                   TEXT    NOT NULL,            -- of the data file
    previous_manifest_sha256 TEXT,                        -- null in the first file of an epoch
    manifest_sha256          TEXT    NOT NULL,
    phase                    TEXT    NOT NULL             -- how far its publication is
        CHECK (phase IN ('sealed', 'data_ready', 'manifest_ready', 'published'))
) STRICT;

CREATE INDEX file_unpublished ON file (file_seq) WHERE phase <> 'published';
CREATE INDEX file_not_conserved ON file (file_seq) WHERE conserved = 0;

CREATE TRIGGER record_is_immutable BEFORE UPDATE ON record
    BEGIN SELECT RAISE (ABORT, 'a sealed record is never changed: corrections are adjust records'); END;
CREATE TRIGGER record_is_kept BEFORE DELETE ON record
    BEGIN SELECT RAISE (ABORT, 'a sealed record is never deleted'); END;
CREATE TRIGGER file_is_immutable BEFORE UPDATE OF file_seq, epoch, name, byte_basis, records, first_seq, last_seq,
    up_bytes, down_bytes, seen_up, seen_down, pending_before_up, pending_before_down, pending_after_up,
    pending_after_down, conserved, sha256, previous_manifest_sha256, manifest_sha256 ON file
    BEGIN SELECT RAISE (ABORT, 'a sealed file is never changed: only its phase is'); END;
CREATE TRIGGER file_is_kept BEFORE DELETE ON file
    BEGIN SELECT RAISE (ABORT, 'a sealed file is never deleted'); END;
";
