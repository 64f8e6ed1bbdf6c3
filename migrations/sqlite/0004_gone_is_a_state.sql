-- Gone is a state, sources are rows, leases are rows, and every number that is asked for often is kept, not counted.
-- The table of images is made anew: its source becomes a number (a path in five indexes is long), and each index holds
-- exactly the rows that one question is about, in the order in which it is answered.

CREATE TABLE sources (
    key                   INTEGER PRIMARY KEY,    -- also the order in which sources are worked on
    id                    TEXT    NOT NULL UNIQUE,
    location              TEXT    NOT NULL DEFAULT '',  -- for messages
    identity              TEXT,                   -- what it is (device, file system, bucket), to notice another in its place
    away_since_ms         INTEGER,                -- it cannot be looked at as a whole; nothing below it changes meanwhile
    away_reason           TEXT,
    unconfigured_since_ms INTEGER,                -- no longer in the configuration: its images are hidden
    last_listed_ms        INTEGER                 -- when it was last compared as a whole
);
INSERT INTO sources (id) SELECT source FROM images GROUP BY source ORDER BY min(id);

-- A claim on images, or on vectors that are to be deleted. Who holds it proves it by the token. When it ran out, or when
-- its holder starts again, what was claimed under it is free.
CREATE TABLE leases (
    token    TEXT    PRIMARY KEY,
    holder   TEXT    NOT NULL,                    -- a data folder, of which one process at a time works
    until_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX leases_by_end    ON leases (until_ms);
CREATE INDEX leases_by_holder ON leases (holder);

CREATE TABLE images_anew (
    id               INTEGER PRIMARY KEY,
    source           INTEGER NOT NULL,            -- key of sources; REFERENCES would walk over all images to drop one source
    name             TEXT    NOT NULL UNIQUE,
    size_bytes       INTEGER NOT NULL,
    version          TEXT    NOT NULL,            -- modification time or etag: with size_bytes the fingerprint
    modified_ms      INTEGER NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('pending', 'indexed', 'failed')),
    missing_since_ms INTEGER,                     -- null: it is there
    content_hash     BLOB,                        -- null until read once; kept while a change or a model switch is worked on
    outdated         INTEGER NOT NULL DEFAULT 0,  -- hash and facts are those of an earlier version of the file
    format           TEXT,                        -- with facts, an image answers searches
    width            INTEGER,
    height           INTEGER,
    attempts         INTEGER NOT NULL DEFAULT 0,  -- tries that ended with an error
    interruptions    INTEGER NOT NULL DEFAULT 0,  -- tries that a crash or kill cut short
    failure_code     TEXT,
    failure          TEXT,
    due_ms           INTEGER NOT NULL DEFAULT 0,  -- not to be leased before
    lease_token      TEXT,
    discovered_ms    INTEGER NOT NULL,
    indexed_ms       INTEGER
);
-- Whoever held a lease ended before this ran.
INSERT INTO images_anew (id, source, name, size_bytes, version, modified_ms, state, content_hash, format, width, height,
                         attempts, interruptions, failure_code, failure, due_ms, discovered_ms, indexed_ms)
SELECT images.id, sources.key, name, size_bytes, version, modified_ms, state, content_hash, format, width, height,
       attempts, interruptions + (lease_token IS NOT NULL), failure_code, failure, due_ms, discovered_ms, indexed_ms
FROM images JOIN sources ON sources.id = images.source ORDER BY images.id;
DROP TABLE images;
ALTER TABLE images_anew RENAME TO images;

CREATE INDEX images_present ON images (source, name) WHERE missing_since_ms IS NULL;
CREATE INDEX images_missing ON images (missing_since_ms) WHERE missing_since_ms IS NOT NULL;
CREATE INDEX images_by_hash ON images (content_hash) WHERE content_hash IS NOT NULL;
CREATE INDEX images_recent  ON images (source, discovered_ms, id) WHERE format IS NOT NULL AND missing_since_ms IS NULL;
CREATE INDEX images_failed  ON images (source, name) WHERE state = 'failed' AND missing_since_ms IS NULL;
CREATE INDEX images_leased  ON images (lease_token) WHERE lease_token IS NOT NULL;
CREATE INDEX images_queue   ON images (source, due_ms, id)
    WHERE state = 'pending' AND lease_token IS NULL AND missing_since_ms IS NULL AND interruptions < 3;
CREATE INDEX images_suspect ON images (source, due_ms, id)
    WHERE state = 'pending' AND lease_token IS NULL AND missing_since_ms IS NULL AND interruptions >= 3;

-- How many images there are of each kind; exact, since only these triggers write it.
CREATE TABLE image_counts (
    source  INTEGER NOT NULL,
    state   TEXT    NOT NULL,
    missing INTEGER NOT NULL,                     -- 1: not there
    answers INTEGER NOT NULL,                     -- 1: has facts
    images  INTEGER NOT NULL,
    PRIMARY KEY (source, state, missing, answers)
) WITHOUT ROWID;
INSERT INTO image_counts
SELECT source, state, missing_since_ms IS NOT NULL, format IS NOT NULL, count(*) FROM images GROUP BY 1, 2, 3, 4;

CREATE TRIGGER images_count_inserted AFTER INSERT ON images BEGIN
    INSERT INTO image_counts VALUES (NEW.source, NEW.state, NEW.missing_since_ms IS NOT NULL, NEW.format IS NOT NULL, 1)
    ON CONFLICT (source, state, missing, answers) DO UPDATE SET images = images + 1;
END;
CREATE TRIGGER images_count_deleted AFTER DELETE ON images BEGIN
    UPDATE image_counts SET images = images - 1 WHERE source = OLD.source AND state = OLD.state
        AND missing = (OLD.missing_since_ms IS NOT NULL) AND answers = (OLD.format IS NOT NULL);
END;
CREATE TRIGGER images_count_changed AFTER UPDATE OF source, state, missing_since_ms, format ON images
WHEN (NEW.source, NEW.state, NEW.missing_since_ms IS NULL, NEW.format IS NULL)
    IS NOT (OLD.source, OLD.state, OLD.missing_since_ms IS NULL, OLD.format IS NULL)
BEGIN
    UPDATE image_counts SET images = images - 1 WHERE source = OLD.source AND state = OLD.state
        AND missing = (OLD.missing_since_ms IS NOT NULL) AND answers = (OLD.format IS NOT NULL);
    INSERT INTO image_counts VALUES (NEW.source, NEW.state, NEW.missing_since_ms IS NOT NULL, NEW.format IS NOT NULL, 1)
    ON CONFLICT (source, state, missing, answers) DO UPDATE SET images = images + 1;
END;

-- A vector is an orphan (orphaned_ms) from when it is intended until an image counts on it, and again from when its last
-- image went. Under a token it is being deleted, and counts as not stored.
ALTER TABLE vectors ADD COLUMN deleting_token TEXT;
UPDATE vectors SET orphaned_ms = NULL
WHERE orphaned_ms IS NOT NULL AND EXISTS (SELECT 1 FROM images WHERE images.content_hash = vectors.content_hash);
UPDATE vectors SET orphaned_ms = unixepoch() * 1000
WHERE orphaned_ms IS NULL AND NOT EXISTS (SELECT 1 FROM images WHERE images.content_hash = vectors.content_hash);
CREATE INDEX vectors_orphaned ON vectors (model, orphaned_ms) WHERE orphaned_ms IS NOT NULL;
CREATE INDEX vectors_deleting ON vectors (model, deleting_token) WHERE deleting_token IS NOT NULL;

CREATE TABLE vector_counts (
    model  TEXT    PRIMARY KEY,
    known  INTEGER NOT NULL,
    stored INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO vector_counts SELECT model, count(*), sum(stored) FROM vectors GROUP BY model;

CREATE TRIGGER vectors_count_inserted AFTER INSERT ON vectors BEGIN
    INSERT INTO vector_counts VALUES (NEW.model, 1, NEW.stored)
    ON CONFLICT (model) DO UPDATE SET known = known + 1, stored = stored + NEW.stored;
END;
CREATE TRIGGER vectors_count_deleted AFTER DELETE ON vectors BEGIN
    UPDATE vector_counts SET known = known - 1, stored = stored - OLD.stored WHERE model = OLD.model;
END;
CREATE TRIGGER vectors_count_changed AFTER UPDATE OF stored ON vectors WHEN NEW.stored <> OLD.stored BEGIN
    UPDATE vector_counts SET stored = stored + NEW.stored - OLD.stored WHERE model = NEW.model;
END;

-- The model for which every indexed image is known to have a stored vector, so that a start need not look at each. One row.
CREATE TABLE vectors_complete_for (model TEXT);
INSERT INTO vectors_complete_for VALUES (NULL);

-- Written when a write failed, to find out whether writing works again. One row.
CREATE TABLE write_probe (at_ms INTEGER NOT NULL);
INSERT INTO write_probe VALUES (0);
