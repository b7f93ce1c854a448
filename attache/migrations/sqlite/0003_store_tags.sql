-- What the store calls the version of the object that was committed (Azure's entity tag), so that one that another tool has
-- put in its place can be told from it.
ALTER TABLE attachments ADD COLUMN store_tag TEXT;
