-- A thumb on a single picture counts without a number for the whole answer.
CREATE TABLE feedback_of_either_kind (
    impression_id TEXT    PRIMARY KEY REFERENCES impressions (id),
    rating        INTEGER CHECK (rating BETWEEN 1 AND 10),
    image_ratings TEXT    NOT NULL,              -- JSON: [{"image_name": "…", "relevant": true}, …]
    created_ms    INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL
);
INSERT INTO feedback_of_either_kind SELECT impression_id, rating, image_ratings, created_ms, updated_ms FROM feedback;
DROP TABLE feedback;
ALTER TABLE feedback_of_either_kind RENAME TO feedback;
