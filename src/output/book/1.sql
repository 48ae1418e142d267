-- cleartap's findings book, version 1. Read it with any SQLite (`sqlite3 -readonly findings.db`); while a sensor runs, only
-- the sensor writes here, except for `exceptions`, which `cleartap findings except` adds to. Times are RFC 3339 in UTC.

-- State of the book itself.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY, -- clock_ns: latest time known; blind_ns: how much of it no packet was watched
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- One row per edge that matters.
CREATE TABLE findings (
    id                TEXT PRIMARY KEY,  -- stable: the same on every sensor
    state             TEXT NOT NULL,     -- new, open, quiet, resolved, regressed, excepted
    severity          TEXT NOT NULL,     -- info, low, medium, high, critical: the worst since it opened
    action            TEXT NOT NULL,     -- report, alert
    topic             TEXT NOT NULL,     -- cleartext, tls, certificate, service
    rule              TEXT NOT NULL,     -- of the policy
    protocol          TEXT NOT NULL,
    scope             TEXT NOT NULL,     -- source domain
    client            TEXT NOT NULL,     -- group when an inventory knows it, else address; * for every client
    client_address    TEXT NOT NULL,     -- as last seen
    server            TEXT NOT NULL,     -- resource when an inventory knows it, else address
    server_address    TEXT NOT NULL,
    port              INTEGER NOT NULL,
    why               TEXT NOT NULL,
    plaintext_reason  TEXT,
    credentials       TEXT NOT NULL,     -- JSON list of kinds seen in clear
    controls          TEXT NOT NULL,     -- JSON list of framework, id, relation, caveat
    remedy            TEXT NOT NULL,     -- cleartap remedies NAME
    exception         TEXT,              -- what holds it back, or held it back until exception_expires
    exception_expires TEXT,
    first_seen        TEXT NOT NULL,
    last_seen         TEXT NOT NULL,
    opened_at         TEXT NOT NULL,
    resolved_at       TEXT,
    regressions       INTEGER NOT NULL,
    flows             INTEGER NOT NULL,  -- each counted once
    bytes             INTEGER NOT NULL,  -- IP bytes, both directions
    evidence          TEXT NOT NULL,     -- JSON list of rule, direction, offset, length, constant
    idle_from         INTEGER NOT NULL   -- nanoseconds of watched time at its last flow
);

-- Ids under which a finding was known before an inventory named its ends.
CREATE TABLE aliases (
    alias   TEXT PRIMARY KEY,
    finding TEXT NOT NULL REFERENCES findings (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX aliases_by_finding ON aliases (finding);

-- What is accepted for a time; they join those of the configuration.
CREATE TABLE exceptions (
    finding    TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    ticket     TEXT NOT NULL,
    until      TEXT NOT NULL, -- last day, YYYY-MM-DD in UTC
    created_at TEXT NOT NULL
) WITHOUT ROWID;

-- What is to be told, written in one transaction with what it tells of; told_at is set once the outputs have taken it.
CREATE TABLE events (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    at       TEXT NOT NULL,
    kind     TEXT NOT NULL,  -- opened, regressed, worsened, resolved, excepted, exception_expired
    finding  TEXT NOT NULL,
    severity TEXT NOT NULL,
    told_at  TEXT,
    event    TEXT NOT NULL   -- JSON: the finding as it stood
);
CREATE INDEX events_untold ON events (number) WHERE told_at IS NULL;
CREATE INDEX events_by_finding ON events (finding);

CREATE VIEW severities (severity, weight) AS
    VALUES ('critical', 4), ('high', 3), ('medium', 2), ('low', 1), ('info', 0);

-- What is open, gravest first.
CREATE VIEW open_findings AS
    SELECT id, state, severity, protocol, client, server || ':' || port AS server, why, plaintext_reason,
           credentials, flows, bytes, first_seen, last_seen, remedy
    FROM findings JOIN severities USING (severity)
    WHERE state IN ('new', 'open', 'quiet', 'regressed')
    ORDER BY weight DESC, last_seen DESC;

-- Servers by how many clients still talk to them in clear.
CREATE VIEW open_by_server AS
    SELECT scope, server, port, protocol, count(DISTINCT client) AS clients, sum(flows) AS flows,
           sum(bytes) AS bytes, max(last_seen) AS last_seen
    FROM findings
    WHERE state IN ('new', 'open', 'quiet', 'regressed') AND topic = 'cleartext'
    GROUP BY scope, server, port, protocol
    ORDER BY clients DESC;

-- Exceptions and what they hold back.
CREATE VIEW exceptions_in_use AS
    SELECT e.finding, f.client, f.server, f.port, f.protocol, f.severity, e.owner, e.reason, e.ticket, e.until
    FROM exceptions e LEFT JOIN findings f ON f.id = e.finding
    ORDER BY e.until;
