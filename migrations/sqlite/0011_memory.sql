-- What searches learn from: who rated (as a pseudonym), which contents the thumbs are on, and the vectors of rated queries.
-- Every change has a number of its own, so that whoever follows reads only what is new; "forgotten" counts deletions.
CREATE TABLE memory_state (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    change    INTEGER NOT NULL,
    forgotten INTEGER NOT NULL
);

CREATE TABLE remembered_ratings (
    impression_id TEXT    PRIMARY KEY REFERENCES impressions (id),
    rater         TEXT    NOT NULL,              -- empty: rated before this was noted
    thumbs        TEXT,                          -- JSON: [{"hash": "…", "relevant": true}]; null: only their names are known
    change        INTEGER NOT NULL UNIQUE
);
INSERT INTO remembered_ratings (impression_id, rater, thumbs, change)
    SELECT impression_id, '', NULL, row_number() OVER (ORDER BY updated_ms, impression_id) FROM feedback;
INSERT INTO memory_state (id, change, forgotten) SELECT 1, count(*), 0 FROM remembered_ratings;

CREATE TABLE query_vectors (
    query  TEXT NOT NULL,
    model  TEXT NOT NULL,
    vector BLOB NOT NULL,                        -- f32, little-endian
    PRIMARY KEY (query, model)
) WITHOUT ROWID;

CREATE INDEX impressions_by_query ON impressions (query);
CREATE INDEX feedback_by_time ON feedback (updated_ms);
