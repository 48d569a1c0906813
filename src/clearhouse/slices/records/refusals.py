"""Every way in which this slice says no; over HTTP each goes out under one of the three codes of its contract.

Refusal
├── Unparsable           SETTLE-01  something in a body cannot be read, and where
├── PartUnparsable       SETTLE-01  the same in a stream that is counted part by part
├── StructureUnknown     SETTLE-02  there is no such structure here
├── StructureExists      SETTLE-02
├── UploadReused         SETTLE-02
├── UploadUnknown        SETTLE-02
├── UploadOvertaken      SETTLE-02
├── RecordReused         SETTLE-02
└── RoundUnknown         SETTLE-02
"""

from clearhouse.refusals import Kind, Refusal


class Unparsable(Refusal):
    """{place}: {problem}; nothing of it was counted."""

    code = "unparsable"
    kind = Kind.MALFORMED


class PartUnparsable(Refusal):
    """{place}: {problem}; nothing of its part was counted, and the {counted} records of the parts before it stay counted."""

    code = "part_unparsable"
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


class RecordReused(Refusal):
    """{place}: {id} was another record when it came first; nothing that came with it was counted."""

    code = "record_reused"
    kind = Kind.REFUSED


class UploadOvertaken(Refusal):
    """Records of the upload {upload} have come in another one meanwhile, or it was begun again; send it once more."""

    code = "upload_overtaken"
    kind = Kind.CONFLICT
    retryable = True


class UploadUnknown(Refusal):
    """There is no upload {upload} here that waits to be counted; begin it again."""

    code = "upload_unknown"
    kind = Kind.UNKNOWN


class RoundUnknown(Refusal):
    """The structure {settleid} has no settled round {round}."""

    code = "round_unknown"
    kind = Kind.UNKNOWN
