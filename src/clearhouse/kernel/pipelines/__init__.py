"""Pipelines: long processes as rows in a state, advanced in batches, and what happens by the clock.

Promise: a process that is interrupted anywhere goes on where its rows say; an effect is neither lost nor repeated; what may
have reached the outside world is asked about, never assumed; a schedule fires once per tick, however many workers there are.

The rows are a product's own. Its table has, among what it likes, with the two row policies and the grants of any table:

    book int NOT NULL, id uuid NOT NULL, state text NOT NULL,
    next_at timestamptz,                -- when it is due; NULL: nothing happens by itself
    attempts int NOT NULL DEFAULT 0,    -- how often its stage failed on it
    lease uuid,                         -- whose call to the outside is under way
    error text,                         -- why it waits (next_at is set) or was set aside (next_at is NULL)
    PRIMARY KEY (book, id)
    CREATE INDEX … ON payout (book, state, next_at) WHERE next_at IS NOT NULL;
    CREATE INDEX … ON payout (book, state, id) WHERE error IS NOT NULL;
    GRANT UPDATE (state, next_at, attempts, lease, error, …) ON payout TO clearhouse_writer;

A stage (`stages.Stage`) takes the rows of one table that are in one state and due. Its functions are given the ids of a
batch, locked; they read and move the rows with SQL of their own, which sets `state` and `next_at` (now: the next stage takes
it at once; NULL: the end, or until somebody comes). The rest of the columns is the kernel's.

    VALIDATE = Stage("interbank.validate", queue="interbank", table="settlement", state="PENDING", does=Moves(validate))
    SEND = Stage("interbank.send", queue="banks", table="settlement", state="FUNDS_LOCKED", does=Calls(say, send, heard))
    RESOLVE = Stage("interbank.resolve", queue="banks", table="settlement", state="EXECUTING", does=Calls(…))

- `Moves(advance)`: one transaction. `await advance(tx, ids, at)` moves rows, and returns what did not move: a mapping of
  id to `Later(until)` (no failure, look again then), `Failed(error)` (back-off with jitter, set aside after `tries`) or
  `Aside(error)` (set aside at once). An exception is found by halves and fails the one row that it stands for.
- `Calls(prepare, call, record, lease_seconds=60)`: transaction, call, transaction. `await prepare(tx, ids, at)` writes what
  will be sent with its id, moves the rows into the state in which they are IN DOUBT, and returns a mapping of id to the
  message (or `Later`, `Failed`, `Aside`; an id that is not in it was moved elsewhere and is done). After the commit
  `await call(messages)` returns one answer a message, in order; an answer `Unheard(error)`, an exception, a crash or the end
  of the lease leaves the row in doubt. `await record(tx, heard, at)` is given `[Heard(id, message, answer)]` of the rows
  whose lease is still ours and returns what did not move, as above. Where every write counts, `prepare` writes `lease` (an
  id of its own) and `next_at` (after `lease_seconds`) with its move, `attempts` and `error` cleared, and returns
  `Leased(lease, messages)`; and `record` clears the lease with its move: then the kernel has nothing left to write.
- The resolver of rows in doubt is a `Calls` stage on the state in which they are in doubt: `prepare` moves nothing, `call`
  asks the other side by the same id, `record` moves them. When its tries are used up the row is set aside where it is: still
  in doubt, its hold still pinned. Until the lease ends (or the answer was `Unheard`) it is not due.

Wake-up: `tx.wake("interbank.validate")` in any transaction, a command's or a stage's, says that it made rows that a stage
can take now. The journal row carries it (`writing.write` takes it from `tx`), and the sequencer queues the stage's job a
moment after the commit. A sweep each second finds what nobody spoke of, and what a time made due.

A test drives a stage without a worker: `Advancer(database, wake=Wakes(stages), chance=Random(1)).run(stage)`.

Schedules (`schedules.Schedule`) are rows: cron, time zone, the name of a job, its arguments. A job is declared by a product:
`Job("interbank.net", run)` with `await run(tx, firing)` in one transaction of the schedule's book, once per firing.

A product brings its stages and jobs in `app.products.Product(stages=(…), jobs=(…))`.
"""
