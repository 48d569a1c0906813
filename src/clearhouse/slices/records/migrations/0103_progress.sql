-- Everybody who ever had a word on a line for an organisation: none of them ends a dispute about it.
ALTER TABLE records_word ADD COLUMN speakers uuid[] NOT NULL DEFAULT '{}';
GRANT UPDATE (speakers) ON records_word TO clearhouse_writer;

-- Uploads on their way, by structure.
DROP INDEX records_upload_staged;
CREATE INDEX records_upload_staged ON records_upload (book, structure, id) WHERE state = 'staged';
