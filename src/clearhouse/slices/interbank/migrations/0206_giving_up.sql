-- Giving up by hand is a question to the bank first, and what is tried again counts for the limits of the day of that try.

-- release: the approval that was asked for to give it up; while that stands, the bank is asked and nothing is sent again.
-- denied_at: when the bank said last that it does not know the order, and nothing was sent since.
-- retried_at: since when it is on its way once more after it had failed.
ALTER TABLE settlement_transactions
    ADD COLUMN release uuid, ADD COLUMN denied_at timestamptz, ADD COLUMN retried_at timestamptz;
CREATE INDEX settlement_retried ON settlement_transactions (book, from_bank, retried_at) WHERE retried_at IS NOT NULL;
GRANT UPDATE (release, denied_at, retried_at) ON settlement_transactions TO clearhouse_writer;
