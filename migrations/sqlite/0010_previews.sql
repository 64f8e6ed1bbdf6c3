-- A few bytes (ThumbHash) that paint a picture's colours before it is there, by content. They go with the content's last vector.
CREATE TABLE previews (
    content_hash BLOB PRIMARY KEY,
    thumbhash    BLOB NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER vectors_previews_deleted AFTER DELETE ON vectors BEGIN
    DELETE FROM previews WHERE content_hash = OLD.content_hash AND NOT EXISTS (
        SELECT 1 FROM vectors WHERE model IN (SELECT model FROM vector_counts) AND content_hash = OLD.content_hash);
END;
