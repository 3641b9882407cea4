"""The names that traces and metrics go by: OpenTelemetry's messaging conventions, and aiotq's own beside them.

The conventions are still in development (https://opentelemetry.io/docs/specs/semconv/messaging/): so they stand here
alone.
"""

from __future__ import annotations

# --- attributes -------------------------------------------------------------------------------------------------------

SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
KIND = "messaging.operation.type"
DESTINATION = "messaging.destination.name"  # the queue
MESSAGE_ID = "messaging.message.id"  # the job's id; not that of a batch
BATCH_COUNT = "messaging.batch.message_count"
ERROR_TYPE = "error.type"

TASK = "aiotq.task"
ATTEMPT = "aiotq.attempt"
OUTCOME = "aiotq.outcome"  # succeeded, failed, retried, cancelled, returned, lost
WORKER = "aiotq.worker"
REASON = "aiotq.reason"

EXCEPTION = "exception"  # the event of an error
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACK = "exception.stacktrace"

# --- values -----------------------------------------------------------------------------------------------------------

AIOTQ = "aiotq"
ENQUEUE, SEND = "enqueue", "send"  # an operation as aiotq names it, and its type
CLAIM, RECEIVE = "claim", "receive"
RUN, PROCESS = "run", "process"

# --- metrics ----------------------------------------------------------------------------------------------------------

SENT = "messaging.client.sent.messages"
CONSUMED = "messaging.client.consumed.messages"
OPERATION_DURATION = "messaging.client.operation.duration"
PROCESS_DURATION = "messaging.process.duration"
WAIT_DURATION = "aiotq.job.wait.duration"

# The conventions' own, in seconds; and as many longer ones for jobs.
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
JOB_BOUNDS_S = (*BOUNDS_S, 30.0, 60.0, 300.0, 1_800.0)
