"""The engine: what carries settlements on by itself, as stages and jobs of the kernel's pipelines.

    (accepted)   PENDING → FUNDS_LOCKED in the transaction of the command, or it waits
    validate     PENDING → FUNDS_LOCKED | FAILED, when a window opened, a person has looked, or a retry is due
    send         FUNDS_LOCKED → EXECUTING, said before it is sent; then what the bank answers
    listen       → CONFIRMING → COMPLETED | FAILED, by what banks say by themselves
    unanswered, unconfirmed → IN_DOUBT, when no word came in time
    resolve      IN_DOUBT → COMPLETED | FAILED, by asking the bank under the same id
    compare      nostros with their banks' statements

Promise: it can be killed between any two lines, and goes on where the rows say.
"""

from clearhouse.slices.interbank import comparing, doubts, listening, turns, waking

STAGES = (waking.STAGE, turns.STAGE, listening.STAGE, *doubts.STAGES, comparing.STAGE)
JOBS = (waking.RETRY, waking.CLEAN_UP, comparing.JOB)
