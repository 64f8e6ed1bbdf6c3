-- What searches learn from: who rated (as a pseudonym), which contents the thumbs are on, and the vectors of rated queries.
-- Every change has a number of its own, so that whoever follows reads only what is new; "forgotten" counts deletions. The one row
-- is locked by whoever counts up, so numbers become visible in their order.
CREATE TABLE memory_state (
    change    BIGINT NOT NULL,
    forgotten BIGINT NOT NULL
);

CREATE TABLE remembered_ratings (
    impression_id TEXT   COLLATE "C" PRIMARY KEY REFERENCES impressions (id),
    rater         TEXT   NOT NULL,                -- empty: rated before this was noted
    thumbs        TEXT,                           -- JSON: [{"hash": "…", "relevant": true}]; null: only their names are known
    change        BIGINT NOT NULL UNIQUE
);
INSERT INTO remembered_ratings (impression_id, rater, thumbs, change)
    SELECT impression_id, '', NULL, row_number() OVER (ORDER BY updated_ms, impression_id) FROM feedback;
INSERT INTO memory_state (change, forgotten) SELECT count(*), 0 FROM remembered_ratings;

CREATE TABLE query_vectors (
    query  TEXT  COLLATE "C" NOT NULL,
    model  TEXT  COLLATE "C" NOT NULL,
    vector BYTEA NOT NULL,                        -- f32, little-endian
    PRIMARY KEY (query, model)
);

-- By a hash: queries may be longer than what a b-tree takes.
CREATE INDEX impressions_by_query ON impressions USING hash (query);
CREATE INDEX feedback_by_time ON feedback (updated_ms);
