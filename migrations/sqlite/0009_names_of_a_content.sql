-- The first names of a content, and the next ones after a name, are read in order; a picture may have thousands of copies.
DROP INDEX images_by_hash;
CREATE INDEX images_by_hash ON images (content_hash, name) WHERE content_hash IS NOT NULL;
