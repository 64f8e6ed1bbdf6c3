-- The catalog: what pictures there are, in which state, which vectors exist, and how searches were rated.
-- Times are milliseconds since 1970. Hashes are the 32 raw bytes.

CREATE TABLE images (
    id            INTEGER PRIMARY KEY,
    source        TEXT    NOT NULL,
    name          TEXT    NOT NULL UNIQUE,
    size_bytes    INTEGER NOT NULL,
    version       TEXT    NOT NULL,              -- modification time or etag: with size_bytes the fingerprint
    modified_ms   INTEGER NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('pending', 'indexed', 'failed')),
    content_hash  BLOB,                          -- null until read once; kept while a model switch re-embeds
    format        TEXT,
    width         INTEGER,
    height        INTEGER,
    attempts      INTEGER NOT NULL DEFAULT 0,    -- tries that ended with an error
    interruptions INTEGER NOT NULL DEFAULT 0,    -- tries that a crash or kill cut short
    failure_code  TEXT,
    failure       TEXT,
    due_ms        INTEGER NOT NULL DEFAULT 0,    -- not to be leased before
    lease_token   TEXT,
    lease_until_ms INTEGER,
    discovered_ms INTEGER NOT NULL,
    indexed_ms    INTEGER
);
CREATE INDEX images_by_source  ON images (source, name);
CREATE INDEX images_by_hash    ON images (content_hash) WHERE content_hash IS NOT NULL;
CREATE INDEX images_queue      ON images (interruptions, id) WHERE state = 'pending';
CREATE INDEX images_failed     ON images (name) WHERE state = 'failed';
CREATE INDEX images_recent     ON images (discovered_ms DESC, id DESC);

-- Which content has a vector in which collection. A row is written before the vector (stored = 0) and confirmed
-- after it (stored = 1), so that whatever a crash leaves in the store is known here and can be removed.
CREATE TABLE vectors (
    model        TEXT    NOT NULL,
    content_hash BLOB    NOT NULL,
    stored       INTEGER NOT NULL DEFAULT 0,
    format       TEXT    NOT NULL,
    width        INTEGER NOT NULL,
    height       INTEGER NOT NULL,
    orphaned_ms  INTEGER,                        -- when its last image was seen to be gone
    PRIMARY KEY (model, content_hash)
) WITHOUT ROWID;

CREATE TABLE impressions (
    id          TEXT    PRIMARY KEY,             -- the jti of the search's token
    query       TEXT    NOT NULL,
    model       TEXT    NOT NULL,
    results     TEXT    NOT NULL,                -- JSON: [{"hash_prefix": "…", "score": 0.3}, …] in the order shown
    searched_ms INTEGER NOT NULL
);

CREATE TABLE feedback (
    impression_id TEXT    PRIMARY KEY REFERENCES impressions (id),
    rating        INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 10),
    image_ratings TEXT    NOT NULL,              -- JSON: [{"image_name": "…", "relevant": true}, …]
    created_ms    INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL
);
