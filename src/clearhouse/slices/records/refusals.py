"""Every way in which this slice says no; over HTTP each goes out under one of the three codes of its contract.

Refusal
├── Unparsable           SETTLE-01  something in a body cannot be read, and where
├── StructureUnknown     SETTLE-02  there is no such structure here
├── StructureExists      SETTLE-02
├── UploadReused         SETTLE-02
├── UploadCounted        SETTLE-02
└── RoundUnknown         SETTLE-02
"""

from clearhouse.refusals import Kind, Refusal


class Unparsable(Refusal):
    """{place}: {problem}; nothing of it was counted."""

    code = "unparsable"
    kind = Kind.MALFORMED


class StructureUnknown(Refusal):
    """There is no settlement structure {settleid} here."""

    code = "structure_unknown"
    kind = Kind.UNKNOWN


class StructureExists(Refusal):
    """There is a settlement structure {settleid} already; choose another id."""

    code = "structure_exists"
    kind = Kind.REFUSED


class UploadReused(Refusal):
    """The upload {upload} was something else when it came first; a new upload needs a new id."""

    code = "upload_reused"
    kind = Kind.REFUSED


class UploadUnknown(Refusal):
    """There is no upload {upload} here that waits to be counted; begin it again."""

    code = "upload_unknown"
    kind = Kind.UNKNOWN


class RoundUnknown(Refusal):
    """The structure {settleid} has no settled round {round}."""

    code = "round_unknown"
    kind = Kind.UNKNOWN
