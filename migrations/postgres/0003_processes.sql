-- Who works with this catalog, each with its last sign of life, and the model that pictures are indexed with (null: any; one row).
CREATE TABLE processes (
    instance          TEXT COLLATE "C" PRIMARY KEY, -- a data folder, of which one process at a time works
    role              TEXT   NOT NULL,
    host              TEXT   NOT NULL,
    version           TEXT   NOT NULL,
    started_ms        BIGINT NOT NULL,
    seen_ms           BIGINT NOT NULL,
    images_indexed    BIGINT NOT NULL,              -- since its start
    images_per_second DOUBLE PRECISION NOT NULL,
    message           TEXT                          -- why indexing pauses
);

CREATE TABLE indexing_model (model TEXT COLLATE "C");
INSERT INTO indexing_model (model) VALUES (NULL);
