PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
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
, totals_sum   BLOB NOT NULL DEFAULT x'', spent_sum    BLOB NOT NULL DEFAULT x'', boot_id      TEXT, row_check    BLOB NOT NULL DEFAULT x'') STRICT;
INSERT INTO node VALUES(1,'zrgw-01',1,7,3,'payload','01010101010101010101010101010101',NULL,NULL,1,3,X'984cae806e59027ec1737e24b4addbb2',X'89c4412830a143244d4a0e56521714f5',NULL,X'23512bce8f3a1e25bf7144fca69f9792');
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
, damaged      INTEGER NOT NULL DEFAULT 0 CHECK (damaged IN (0, 1)), counters_sum BLOB NOT NULL DEFAULT x'', row_check    BLOB NOT NULL DEFAULT x'') STRICT;
INSERT INTO segment VALUES(1,'2020-04-06T12:30:00.000Z','2020-04-06T12:45:00.000Z','2020-04-06T12:31:01.000Z',0,0,1222,9,0,0,1,2,1221,7,0,X'a24a50293ca38d9a106cf8fd5065c8b7',X'1d57119c6a1abc1a74ab92bfbe49a575');
CREATE TABLE total (                   -- running totals of this epoch, up to the last seal
    id              INTEGER PRIMARY KEY,
    subscriber_type TEXT    NOT NULL,
    subscriber_id   TEXT    NOT NULL,
    session_id      TEXT    NOT NULL,
    class           TEXT    NOT NULL,
    service_id      TEXT    NOT NULL,      -- '' unless exempt
    reason          TEXT    NOT NULL,      -- '' if exempt
    up_bytes        INTEGER NOT NULL CHECK (up_bytes >= 0),
    down_bytes      INTEGER NOT NULL CHECK (down_bytes >= 0), row_check BLOB NOT NULL DEFAULT x'',
    UNIQUE (subscriber_id, session_id, subscriber_type, class, service_id, reason)
) STRICT;
INSERT INTO total VALUES(1,'msisdn','77010000001','s-1','exempt','bilimland','',20,40,X'0467cc4242221e400575677247e4ef05');
INSERT INTO total VALUES(2,'msisdn','77010000002','s-1','exempt','daryn','',2000,100000,X'317c3e8315a8f00256c5e639a590df92');
INSERT INTO total VALUES(3,'msisdn','77010000001','s-1','charged','','not_listed',1000,10000,X'6268a3bb168df43c65383078c7380d1b');
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
, capped INTEGER NOT NULL DEFAULT 0 CHECK (capped IN (0, 1)), row_check BLOB NOT NULL DEFAULT x'') STRICT;
INSERT INTO counter VALUES(1,1,'kz-education',3,100,'reported',1221,7,'',0,X'a24a50293ca38d9a106cf8fd5065c8b7');
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
INSERT INTO record VALUES(1,1,'usage','exempt',NULL,'msisdn','77010000001','s-1','bilimland',100,'kz-education',3,'2020-04-06T12:00:00.000Z','2020-04-06T12:15:00.000Z',10,20,10,20,'reported','period','');
INSERT INTO record VALUES(1,2,'usage','charged','not_listed','msisdn','77010000001','s-1',NULL,NULL,'kz-education',3,'2020-04-06T12:00:00.000Z','2020-04-06T12:15:00.000Z',500,5000,500,5000,NULL,'period','');
INSERT INTO record VALUES(1,3,'usage','exempt',NULL,'msisdn','77010000002','s-1','daryn',100,'kz-education',3,'2020-04-06T12:00:00.000Z','2020-04-06T12:15:00.000Z',1000,50000,1000,50000,'reported','period','');
INSERT INTO record VALUES(1,4,'usage','exempt',NULL,'msisdn','77010000001','s-1','bilimland',100,'kz-education',3,'2020-04-06T12:15:00.000Z','2020-04-06T12:30:00.000Z',10,20,20,40,'reported','period','');
INSERT INTO record VALUES(1,5,'usage','charged','not_listed','msisdn','77010000001','s-1',NULL,NULL,'kz-education',3,'2020-04-06T12:15:00.000Z','2020-04-06T12:30:00.000Z',500,5000,1000,10000,NULL,'period','');
INSERT INTO record VALUES(1,6,'usage','exempt',NULL,'msisdn','77010000002','s-1','daryn',100,'kz-education',3,'2020-04-06T12:15:00.000Z','2020-04-06T12:30:00.000Z',1000,50000,2000,100000,'reported','period','');
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
    format INTEGER NOT NULL DEFAULT 1 CHECK (format >= 1)) STRICT;
INSERT INTO file VALUES(1,1,'zrgw-01_usage_20200406T121500Z_00001_0000000001','payload',3,1,3,1510,55020,1510,55020,0,0,0,0,1,'8e9e920c617b468e67ea5e299b9e400fbb164aee19233fca4ad9276a4bc1a066',NULL,'8c7c383c20de76ae3652f3b47b509dbc13e3b4c84cf5ae5867d8f08aa5b5af9d',1);
INSERT INTO file VALUES(2,1,'zrgw-01_usage_20200406T123000Z_00001_0000000002','payload',3,4,6,1510,55020,1510,55020,0,0,0,0,1,'4c8d698e4503133fc62a4829becda04bff1d0ad9a7b0ba51eb33672cb5182115','8c7c383c20de76ae3652f3b47b509dbc13e3b4c84cf5ae5867d8f08aa5b5af9d','b31f04bfec6ca07a951f935b2630b4bd0670f44bd1318b8aced4973f5f9cefaa',1);
CREATE TABLE spent (                   -- what subscribers have had exempt under allowances, in spans that last
    subscriber_type TEXT    NOT NULL,
    subscriber_id   TEXT    NOT NULL,
    allowance       TEXT    NOT NULL,      -- 'overall', 'shared_addresses', 'group:ID'
    span            TEXT    NOT NULL,      -- 'day 2026-11-25', 'month 2026-11-01', in the zone of the configuration
    bytes           INTEGER NOT NULL CHECK (bytes >= 0), row_check BLOB NOT NULL DEFAULT x'',   -- both directions
    PRIMARY KEY (subscriber_id, subscriber_type, allowance, span)
) STRICT, WITHOUT ROWID;
INSERT INTO spent VALUES('msisdn','77010000001','overall','day 2020-04-06',11,X'89c4412830a143244d4a0e56521714f5');
CREATE TABLE set_aside (               -- rows that are in no record and will not be: for whoever looks into it
    id      INTEGER PRIMARY KEY,
    at_utc  TEXT    NOT NULL,              -- when it was found
    epoch   INTEGER NOT NULL,              -- of the node then
    source  TEXT    NOT NULL,              -- the table it stood in
    why     TEXT    NOT NULL,
    content TEXT    NOT NULL               -- the row as it was found: JSON by column
) STRICT;
CREATE TABLE delivery (                -- sealed files at sinks; a file that a sink has not begun has no row
    sink       TEXT    NOT NULL,           -- 'files' is the folder of usage files
    file_seq   INTEGER NOT NULL,           -- 0: the sink began before there was a file
    phase      TEXT    NOT NULL            -- the sink has all up to its highest that is published
        CHECK (phase IN ('sealed', 'data_ready', 'manifest_ready', 'published')),
    attempts   INTEGER NOT NULL CHECK (attempts >= 0),     -- tries that ended, the one that succeeded among them
    last_error TEXT,                       -- of the last try; null where it succeeded, or goes on
    PRIMARY KEY (sink, file_seq)
) STRICT, WITHOUT ROWID;
INSERT INTO delivery VALUES('files',1,'published',1,NULL);
CREATE INDEX file_not_conserved ON file (file_seq) WHERE conserved = 0;
CREATE TRIGGER record_is_immutable BEFORE UPDATE ON record
    BEGIN SELECT RAISE (ABORT, 'a sealed record is never changed: corrections are adjust records'); END;
CREATE TRIGGER record_is_kept BEFORE DELETE ON record
    BEGIN SELECT RAISE (ABORT, 'a sealed record is never deleted'); END;
CREATE TRIGGER file_is_kept BEFORE DELETE ON file
    BEGIN SELECT RAISE (ABORT, 'a sealed file is never deleted'); END;
CREATE INDEX delivery_open ON delivery (sink, file_seq) WHERE phase <> 'published';
CREATE TRIGGER file_is_immutable BEFORE UPDATE ON file
    BEGIN SELECT RAISE (ABORT, 'a sealed file is never changed'); END;
COMMIT;
PRAGMA application_id=1515341655;
PRAGMA user_version=4;
