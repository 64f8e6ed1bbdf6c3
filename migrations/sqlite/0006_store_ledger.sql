-- Who we are, for the marker in the collections of a vector store. An installation that has vectors already when this
-- table is made goes on with the collection names that did not carry the installation.
CREATE TABLE installation (
    id                TEXT    NOT NULL,          -- 32 hexadecimal digits, as UUIDs may be written
    has_plain_names   INTEGER NOT NULL
);
INSERT INTO installation SELECT lower(hex(randomblob(16))), EXISTS (SELECT 1 FROM vectors);

-- How many writes to the collection of a model were begun. The collection notes the number with the write; where the
-- two differ, the collection is not as we left it.
CREATE TABLE store_epochs (
    model TEXT    NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL
) WITHOUT ROWID;
