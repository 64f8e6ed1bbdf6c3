-- Who works with this catalog, each with its last sign of life, and the model that pictures are indexed with (null: any).
CREATE TABLE processes (
    instance          TEXT    PRIMARY KEY,       -- a data folder, of which one process at a time works
    role              TEXT    NOT NULL,
    host              TEXT    NOT NULL,
    version           TEXT    NOT NULL,
    started_ms        INTEGER NOT NULL,
    seen_ms           INTEGER NOT NULL,
    images_indexed    INTEGER NOT NULL,          -- since its start
    images_per_second REAL    NOT NULL,
    message           TEXT                       -- why indexing pauses
) WITHOUT ROWID;

CREATE TABLE indexing_model (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    model TEXT
);
INSERT INTO indexing_model (id, model) VALUES (1, NULL);
