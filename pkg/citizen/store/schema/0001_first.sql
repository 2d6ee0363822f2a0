-- Files kept on the volume outside the database, by content. Which ranges of
-- the pool are in use follows from this table and from nothing else.
CREATE TABLE blob (
  sum  BLOB PRIMARY KEY CHECK (length(sum) = 32),
  off  INTEGER NOT NULL UNIQUE,
  size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who needs a blob; the last owner to go takes the blob along.
CREATE TABLE blob_owner (
  sum   BLOB NOT NULL REFERENCES blob (sum),
  owner TEXT NOT NULL,
  PRIMARY KEY (sum, owner)
) STRICT, WITHOUT ROWID;

-- Definition files as they were when a case was filed under them.
CREATE TABLE definition (
  hash    BLOB PRIMARY KEY CHECK (length(hash) = 32),
  slug    TEXT NOT NULL,
  version INTEGER NOT NULL,
  body    BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE casefile (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  code       TEXT NOT NULL UNIQUE,      -- tracking code: what the applicant holds
  token      BLOB NOT NULL UNIQUE,      -- hash of the form token: files exactly once
  definition BLOB NOT NULL REFERENCES definition (hash),
  slug       TEXT NOT NULL,
  category   TEXT NOT NULL,
  state      TEXT NOT NULL,
  channel    TEXT NOT NULL,
  lang       TEXT NOT NULL,
  answers    TEXT NOT NULL,             -- JSON object: field -> value
  contact    TEXT NOT NULL,             -- JSON: the service in charge, as printed on the receipt
  search     TEXT NOT NULL,             -- folded text for the agents' search
  filed_at   INTEGER NOT NULL,          -- milliseconds since 1970, UTC
  changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX casefile_by_state ON casefile (state, filed_at);

CREATE TABLE case_file (
  casefile INTEGER NOT NULL REFERENCES casefile (id),
  field    TEXT NOT NULL,
  sum      BLOB NOT NULL REFERENCES blob (sum),
  width    INTEGER NOT NULL,
  height   INTEGER NOT NULL,
  PRIMARY KEY (casefile, field)
) STRICT, WITHOUT ROWID;

-- The chain: hash covers the event and the hash before it.
CREATE TABLE event (
  casefile INTEGER NOT NULL REFERENCES casefile (id),
  seq      INTEGER NOT NULL,
  kind     TEXT NOT NULL,
  actor    TEXT NOT NULL,
  at       INTEGER NOT NULL,
  data     TEXT NOT NULL,               -- JSON
  token    BLOB UNIQUE,                 -- hash of the form token, for acts of people
  prev     BLOB NOT NULL CHECK (length(prev) = 32),
  hash     BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (casefile, seq)
) STRICT, WITHOUT ROWID;

-- Photos of forms that are not filed yet; removed after a day.
CREATE TABLE upload (
  ref     TEXT PRIMARY KEY,
  sum     BLOB NOT NULL REFERENCES blob (sum),
  width   INTEGER NOT NULL,
  height  INTEGER NOT NULL,
  made_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_by_age ON upload (made_at);

CREATE TABLE agent (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  name      TEXT NOT NULL UNIQUE,
  display   TEXT NOT NULL,
  password  TEXT NOT NULL,              -- argon2id, with its parameters
  secret    TEXT NOT NULL,              -- TOTP, base32
  last_step INTEGER NOT NULL DEFAULT 0, -- newest TOTP step used; none is used twice
  made_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
  hash    BLOB PRIMARY KEY CHECK (length(hash) = 32),
  agent   INTEGER NOT NULL REFERENCES agent (id),
  made_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What agents did, chained like events.
CREATE TABLE audit (
  seq   INTEGER PRIMARY KEY,
  kind  TEXT NOT NULL,
  actor TEXT NOT NULL,
  at    INTEGER NOT NULL,
  data  TEXT NOT NULL,
  prev  BLOB NOT NULL CHECK (length(prev) = 32),
  hash  BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
