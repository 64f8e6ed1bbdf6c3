-- Who may ask for what. Without a row here everybody may search and rate, as long as the server can be reached.
-- A key is 256 random bits, so its plain SHA-256 gives nothing away; slow hashes are for what people think up.
CREATE TABLE api_keys (
    id         TEXT    PRIMARY KEY,               -- in sessions, in place of the key
    name       TEXT    NOT NULL UNIQUE,
    hash       BLOB    NOT NULL,                  -- SHA-256
    beginning  TEXT    NOT NULL,                  -- the first few characters, to recognise it by
    scopes     TEXT    NOT NULL,                  -- words with spaces between them
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Files that cannot be images because of their names, as the last comparison of everything saw them.
CREATE TABLE unnameable_files (
    source INTEGER NOT NULL,                      -- key of sources
    shown  TEXT    NOT NULL,                      -- the name, as far as it can be shown
    reason TEXT    NOT NULL,
    PRIMARY KEY (source, shown)
) WITHOUT ROWID;
