-- The catalog may be shared by machines that keep their models in different places.
ALTER TABLE used_models DROP COLUMN dir;
