-- Models that were used, and where their files were: the one whose vectors answer is loaded again at the next start, while the
-- vectors of another are being made.
CREATE TABLE used_models (
    name         TEXT NOT NULL,
    revision     TEXT NOT NULL,
    dir          TEXT NOT NULL,
    display_name TEXT NOT NULL,
    banner       TEXT,
    PRIMARY KEY (name, revision)
) WITHOUT ROWID;

-- Counts by state are asked for twice a second by whoever watches.
CREATE INDEX images_by_state ON images (state);
