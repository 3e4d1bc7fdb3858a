"""The schema of the ledger. Times are seconds since 1970 UTC; ids are our own, never UIDs from outside."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[str]:
    return Column("id", String(32), primary_key=True)


def _reference(name: str, target: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(32), ForeignKey(target), nullable=nullable, index=True)


#: Associations, open and past. An open one with an old heartbeat belongs to a dead process.
association = Table(
    "association",
    metadata,
    _id(),
    Column("process", String(64), nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("source", String(64), nullable=False),
    Column("address", String(64), nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("ended", String(16)),
    Index("ix_association_open", "closed_at", "calling_ae_title"),
)

#: One scan, from which several series may have been reconstructed.
acquisition = Table(
    "acquisition",
    metadata,
    _id(),
    Column("study_instance_uid", String(64), nullable=False),
    Column("patient_digest", String(64), nullable=False),
    Column("frame_of_reference_uid", String(64), nullable=False),
    Column("acquisition_number", String(16), nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Index("ix_acquisition_study", "study_instance_uid", "patient_digest"),
)

series = Table(
    "series",
    metadata,
    _id(),
    Column("study_instance_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("patient_digest", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("first_received_at", Float, nullable=False),
    Column("last_received_at", Float, nullable=False),
    #: Association on which anything of it came last, identical copies included.
    Column("last_association_id", String(32), ForeignKey("association.id")),
    Column("generation", Integer, nullable=False),
    #: Why a person should look at it; NULL where nothing is odd.
    Column("flag", Text),
    #: Since when a sender relies on this node to keep it for good; NULL where none does.
    Column("promised_at", Float),
    UniqueConstraint("study_instance_uid", "series_instance_uid", "patient_digest"),
    Index("ix_series_patient", "patient_digest"),
    Index("ix_series_first_received", "first_received_at"),
)

#: Which callers sent a series; results go to the union of their destinations.
series_source = Table(
    "series_source",
    metadata,
    Column("series_id", String(32), ForeignKey("series.id"), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("calling_ae_title", String(16), primary_key=True),
    #: 1 once the deliveries to this source's peers exist.
    Column("settled", Integer, nullable=False),
    Index("ix_series_source_settled", "settled"),
)

#: Instances on their way: of a series that is not sealed yet, or whose manifest is not written yet.
instance = Table(
    "instance",
    metadata,
    _id(),
    _reference("series_id", "series.id"),
    _reference("association_id", "association.id"),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("move_originator_ae_title", String(16)),
    Column("move_originator_message_id", Integer),
    #: Why it takes no part in the analysis; NULL for an image that does.
    Column("set_aside", Text),
    #: Generation in which its series was sealed with it; NULL until then.
    Column("generation", Integer),
    #: What selection needs to know of the header (`core.ct_header.CtFacts`).
    Column("facts", JSON),
    #: The node whose spool holds the file; empty where there is one node.
    Column("node", String(32), nullable=False, server_default=text("''")),
    Index("ix_instance_sop", "series_id", "sop_instance_uid"),
    Index("ix_instance_open", "generation", "series_id"),
)

#: The instances of a sealed series are listed in files beside them (`custody.manifest`), one row for each.
manifest = Table(
    "manifest",
    metadata,
    _id(),
    _reference("series_id", "series.id"),
    Column("generation", Integer, nullable=False),
    Column("node", String(32), nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("instances", Integer, nullable=False),
    Column("set_aside", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("written_at", Float, nullable=False),
    #: Checksum of the package on shared storage; NULL where there is none.
    Column("package_sha256", String(64)),
    #: When it was decided to delete its images, and why; when no file of them was left.
    Column("purged_at", Float),
    Column("purged_because", Text),
    Column("files_gone_at", Float),
    Index("ix_manifest_written", "written_at"),
    Index("ix_manifest_age", "purged_at", "written_at"),
    Index("ix_manifest_unfinished", "files_gone_at", "purged_at"),
)

#: One generation of one series on its way through the node; also the analysis queue.
job = Table(
    "job",
    metadata,
    _id(),
    _reference("series_id", "series.id"),
    _reference("acquisition_id", "acquisition.id"),
    Column("generation", Integer, nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("evidence", Text, nullable=False),
    Column("model", String(64), nullable=False),
    Column("sealed_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("owner", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("lease_until", Float),
    Column("started_at", Float),
    Column("finished_at", Float),
    #: The measurements and timings, as in `result.json`.
    Column("result", JSON),
    #: Who goes first: `custody.ledger.states.Lane`, then by what was found (the severity score).
    Column("lane", Integer, nullable=False, server_default=text("1")),
    Column("triage", Integer, nullable=False, server_default=text("0")),
    #: `custody.ledger.states.JobPurpose`.
    Column("purpose", String(16), nullable=False, server_default=text("'report'")),
    #: Name and checksum of the package of its results on shared storage; NULL where there is none.
    Column("results_package", String(256)),
    #: When it was decided to delete its results; when no file of them was left.
    Column("results_purged_at", Float),
    Column("results_gone_at", Float),
    UniqueConstraint("series_id", "generation"),
    Index("ix_job_queue", "state", "lane", "due_at"),
    Index("ix_job_sealed", "sealed_at"),
    Index("ix_job_finished", "finished_at"),
    Index("ix_job_results_age", "results_purged_at", "finished_at"),
    Index("ix_job_results_unfinished", "results_gone_at", "results_purged_at"),
)

#: Every attempt at a job, also those that broke off.
attempt = Table(
    "attempt",
    metadata,
    _id(),
    _reference("job_id", "job.id"),
    Column("attempt", Integer, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    #: The state that it led to, or ``again``, ``broke_off``, ``stopped``; NULL while it goes on.
    Column("outcome", String(16)),
    Column("reason", Text),
)

result_object = Table(
    "result_object",
    metadata,
    _id(),
    _reference("job_id", "job.id"),
    Column("position", Integer, nullable=False),
    Column("kind", String(32), nullable=False),
    #: Which of several encodings of one kind (`core.forms.ResultForm.variant`).
    Column("variant", String(64), nullable=False, server_default=text("''")),
    #: Digest of the identity that a PACS has given the patient since; empty where it is that of the images.
    Column("corrected", String(64), nullable=False, server_default=text("''")),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False, index=True),
    #: Whatever replaces it cites the series, also when the file is deleted; NULL: look into the file.
    Column("series_instance_uid", String(64)),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("written_at", Float, nullable=False),
)

#: What later scans of a patient are compared with (`custody.time_point_file`), one for each analysis.
time_point = Table(
    "time_point",
    metadata,
    _id(),
    Column("job_id", String(32), ForeignKey("job.id"), nullable=False, unique=True),
    Column("patient_digest", String(64), nullable=False, index=True),
    #: `core.patient.Person.digest`; empty where the images name no birth date.
    Column("person_digest", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    #: By the scanner's own clock, without a time zone: ISO 8601, so that text sorts as time does.
    Column("scanned_at", String(32)),
    #: Of what it says (`core.time_point.TimePoint.digest`); results name the ones that they depend on.
    Column("digest", String(64), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("written_at", Float, nullable=False),
    #: Name and checksum of its package on shared storage; NULL where there is none.
    Column("package", String(256)),
    #: When it was decided to delete it; the row goes when the file is gone.
    Column("purged_at", Float),
    Index("ix_time_point_age", "purged_at", "written_at"),
)

#: One object to one peer; also the delivery queue.
delivery = Table(
    "delivery",
    metadata,
    _id(),
    _reference("result_object_id", "result_object.id"),
    _reference("job_id", "job.id"),
    Column("peer", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("status", Integer),
    Column("due_at", Float, nullable=False),
    Column("owner", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("lease_until", Float),
    Column("created_at", Float, nullable=False),
    Column("delivered_at", Float),
    UniqueConstraint("result_object_id", "peer"),
    Index("ix_delivery_queue", "state", "peer", "due_at"),
    Index("ix_delivery_delivered", "delivered_at"),
)

#: One delivered object that a peer is asked to commit to (PS3.4 J); also the queue of asking.
commitment = Table(
    "commitment",
    metadata,
    _id(),
    Column("delivery_id", String(32), ForeignKey("delivery.id"), nullable=False, unique=True),
    Column("peer", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    #: Of the request that is under way.
    Column("transaction_uid", String(64), index=True),
    Column("reason", Text),
    Column("due_at", Float, nullable=False),
    Column("owner", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("lease_until", Float),
    Column("created_at", Float, nullable=False),
    Column("asked_at", Float),
    Column("ended_at", Float),
    #: How often the object was sent again because the peer did not commit to it.
    Column("resent", Integer, nullable=False),
    Index("ix_commitment_queue", "state", "peer", "due_at"),
    Index("ix_commitment_ended", "ended_at"),
)

#: Every request for commitment that was made of a peer, so that a late report still finds what it is about.
commitment_transaction = Table(
    "commitment_transaction",
    metadata,
    Column("transaction_uid", String(64), primary_key=True),
    Column("peer", String(64), nullable=False),
    #: The job whose objects it is about, or the sender's request that depends on it.
    Column("job_id", String(32), ForeignKey("job.id")),
    Column("request_id", String(32), ForeignKey("commitment_request.id"), index=True),
    Column("asked_at", Float, nullable=False),
    Column("reported_at", Float),
    #: For a sender's request: by SOP Instance UID 0, or the Failure Reason (0008,1197).
    Column("outcome", JSON),
)

#: A request for commitment that a sender made of this node; also the queue of answering.
commitment_request = Table(
    "commitment_request",
    metadata,
    _id(),
    Column("transaction_uid", String(64), nullable=False),
    Column("source", String(64), nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    #: The node that it was made of: only that one can look at its files.
    Column("node", String(32), nullable=False),
    #: Pairs of SOP Class UID and SOP Instance UID, as requested.
    Column("items", JSON, nullable=False),
    #: By SOP Instance UID: 0 for committed, else the Failure Reason (0008,1197).
    Column("outcome", JSON),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("requested_at", Float, nullable=False),
    #: When the outcome was known; the sender is told from then on.
    Column("decided_at", Float),
    Column("due_at", Float, nullable=False),
    Column("owner", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("lease_until", Float),
    Column("ended_at", Float),
    UniqueConstraint("calling_ae_title", "transaction_uid"),
    Index("ix_commitment_request_queue", "state", "node", "due_at"),
    Index("ix_commitment_request_ended", "ended_at"),
)

#: The search for earlier scans of a job's patient in a PACS; also the queue of asking.
prior_search = Table(
    "prior_search",
    metadata,
    _id(),
    Column("job_id", String(32), ForeignKey("job.id"), nullable=False, unique=True),
    #: Whose job it is, by the settings; what is fetched is analysed like its scans.
    Column("source", String(64), nullable=False),
    Column("peer", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    #: What a reader of the result should know: sentences without identifiers.
    Column("notes", JSON, nullable=False),
    #: Since then, and for so long, the job waits for it.
    Column("created_at", Float, nullable=False),
    Column("wait_s", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    #: When the PACS had answered which scans there are.
    Column("listed_at", Float),
    Column("owner", String(64)),
    #: Of the step that is being taken: more than 1 where claims broke off.
    Column("attempt", Integer, nullable=False),
    Column("lease_until", Float),
    Column("ended_at", Float),
    Index("ix_prior_search_queue", "state", "peer", "due_at"),
)

#: A series that a search found worth comparing with.
prior_series = Table(
    "prior_series",
    metadata,
    _id(),
    _reference("search_id", "prior_search.id"),
    #: The newest first.
    Column("position", Integer, nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    #: Message ID of the request, which the images name as Move Originator Message ID; NULL until then.
    Column("message_id", Integer),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("asked_at", Float),
    Column("ended_at", Float),
    Index("ix_prior_series_uid", "series_instance_uid"),
)

#: What was deleted, changed or ordered by hand, by whom and when; never deleted itself.
audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", Float, nullable=False, index=True),
    Column("actor", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    #: Our id of a series or job, or the digest of a patient.
    Column("subject", String(160), nullable=False, index=True),
    Column("detail", JSON, nullable=False),
)

#: What was switched on for all nodes of this ledger, for example draining.
switch = Table(
    "switch",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("set_at", Float, nullable=False),
)

#: Patients that turned out to be one: the digest of the given-up identity, and of the one that stands.
patient_merge = Table(
    "patient_merge",
    metadata,
    Column("old_digest", String(64), primary_key=True),
    Column("new_digest", String(64), nullable=False, index=True),
    Column("merged_at", Float, nullable=False),
)

#: Whatever a person should know: refused callers, data sets set aside, a full disk. Repeats are counted.
incident = Table(
    "incident",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("subject", String(160), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
)

#: The node's own processes, for `status`.
service = Table(
    "service",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("process", String(64), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("detail", JSON, nullable=False),
)
