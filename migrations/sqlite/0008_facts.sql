-- When pictures were taken and with what, so that lists go by it and searches can be filtered. What the header says belongs to
-- the content; what only name and time of the file say, to the image.

CREATE TABLE content_facts (
    content_hash BLOB    PRIMARY KEY,
    camera       TEXT,                            -- maker and model
    lens         TEXT,
    latitude     REAL,
    longitude    REAL,
    altitude_m   REAL,
    grey         INTEGER                          -- 1: no pixel has a colour; null: nobody has looked
) WITHOUT ROWID;

-- The header's time, else one in the name, else the file's. Without an offset it is what the camera's clock showed, as if in UTC.
ALTER TABLE images ADD COLUMN taken_ms INTEGER;
ALTER TABLE images ADD COLUMN taken_offset_minutes INTEGER;
ALTER TABLE images ADD COLUMN taken_from TEXT;    -- null: its header has not been read yet

UPDATE images SET taken_ms = modified_ms, taken_offset_minutes = 0 WHERE format IS NOT NULL;

DROP INDEX images_recent;
CREATE INDEX images_taken ON images (source, taken_ms, id) WHERE format IS NOT NULL AND missing_since_ms IS NULL;
CREATE INDEX images_without_facts ON images (source, id)
    WHERE taken_from IS NULL AND format IS NOT NULL AND missing_since_ms IS NULL;

-- The latest change of each image that answers searches, or did: whoever keeps a copy of what filters ask for (the search
-- does, in memory) reads on from the last change it has seen. An image is in here once; a deletion leaves its row.
CREATE TABLE image_changes (
    change INTEGER PRIMARY KEY AUTOINCREMENT,
    image  INTEGER NOT NULL UNIQUE
);
INSERT INTO image_changes (image) SELECT id FROM images WHERE format IS NOT NULL ORDER BY id;

CREATE TRIGGER images_change_noted
AFTER UPDATE OF source, missing_since_ms, content_hash, format, width, height, taken_ms, taken_from ON images
WHEN NEW.format IS NOT NULL OR OLD.format IS NOT NULL
BEGIN
    -- Not as one REPLACE: within a trigger the words of the statement that fired it would count.
    DELETE FROM image_changes WHERE image = NEW.id;
    INSERT INTO image_changes (image) VALUES (NEW.id);
END;

-- Words of names and cameras. It holds no text, only where each word is.
CREATE VIRTUAL TABLE image_words USING fts5 (
    name, camera, content = '', contentless_delete = 1, prefix = '2 4', tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO image_words (rowid, name) SELECT id, name FROM images WHERE format IS NOT NULL;

CREATE TRIGGER images_deletion_noted AFTER DELETE ON images BEGIN
    DELETE FROM image_words WHERE rowid = OLD.id;
    DELETE FROM image_changes WHERE image = OLD.id;
    -- What was hidden before its deletion is known to be.
    INSERT INTO image_changes (image) SELECT OLD.id WHERE OLD.missing_since_ms IS NULL AND OLD.format IS NOT NULL;
END;
