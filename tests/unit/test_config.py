"""The configuration: what IT staff type in, and what they are told about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import config
from config import DicomwebPeerSettings, DimsePeerSettings, load_settings
from config.settings import AnalyseRule
from core.errors import ConfigurationError

EXAMPLE = Path(config.__file__).with_name("example.toml")


def faults_of(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    """Return the faults that loading this text reports."""
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, environment or {})
    return caught.value.faults


def test_the_example_is_valid_as_it_stands() -> None:
    """The shipped example loads without a fault."""
    settings = load_settings(EXAMPLE, {})
    assert settings.node.ae_title == "LESIONNODE"
    assert settings.sources[0].analyse is AnalyseRule.BEST_PER_ACQUISITION
    assert settings.sources[0].send_to == ("pacs",)


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    """Five mistakes in one file give five lines, each with the file, the key and what is wanted."""
    faults = faults_of(
        tmp_path,
        """
        [node]
        ae_title = "AN_AE_TITLE_TOO_LONG"
        port = 70000
        colour = "blue"
        [[peers]]
        name = "pacs"
        ae_title = "BACK\\\\SLASH"
        host = "not a host"
        port = 104
        """,
    )
    text = "\n".join(faults)
    assert len(faults) == 5
    assert all("node.toml" in fault for fault in faults)
    for key in ("node.ae_title", "node.port", "node.colour", "peers[0].ae_title", "peers[0].host"):
        assert key in text
    assert "1 to 16 characters" in text
    assert "70000" in text


def test_a_misspelt_key_is_answered_with_the_right_one(tmp_path: Path) -> None:
    """A key with a typing error is refused and the probable key is named."""
    (fault,) = faults_of(tmp_path, '[node]\nae_titel = "X"\n')
    assert 'did you mean "ae_title"' in fault


def test_a_source_that_sends_to_an_unknown_peer_is_a_fault(tmp_path: Path) -> None:
    """`send_to` has to name a configured peer; the known ones are listed."""
    (fault,) = faults_of(
        tmp_path,
        """
        peers = [{name = "pacs", ae_title = "PACS", host = "192.0.2.1", port = 104}]
        sources = [{name = "ct", ae_titles = ["CT"], networks = ["192.0.2.2"], send_to = ["pax"]}]
        """,
    )
    assert '"pax"' in fault
    assert '"pacs"' in fault


def test_a_caller_claimed_by_two_sources_is_a_fault(tmp_path: Path) -> None:
    """The same AE title from overlapping networks in two sources would be ambiguous."""
    (fault,) = faults_of(
        tmp_path,
        """
        peers = [{name = "pacs", ae_title = "PACS", host = "192.0.2.1", port = 104}]
        sources = [
          {name = "a", ae_titles = ["CT"], networks = ["192.0.2.0/24"], send_to = ["pacs"]},
          {name = "b", ae_titles = ["CT"], networks = ["192.0.2.7"], send_to = ["pacs"]},
        ]
        """,
    )
    assert '"CT"' in fault


def test_the_environment_overrides_the_file() -> None:
    """Containers set single values by variables, list items by their number."""
    settings = load_settings(
        EXAMPLE,
        {
            "LESION_NODE__NODE__PORT": "104",
            "LESION_NODE__PEERS__0__HOST": "pacs.example",
            "LESION_NODE__SOURCES__0__AE_TITLES": '["CT7", "CT8"]',
            "UNRELATED": "1",
        },
    )
    assert settings.node.port == 104
    assert settings.peers[0].host == "pacs.example"
    assert settings.sources[0].ae_titles == ("CT7", "CT8")


def test_broken_toml_and_missing_files_are_named(tmp_path: Path) -> None:
    """A syntax error is reported with its line; a missing file with its path."""
    assert "line 1" in faults_of(tmp_path, "[node\n")[0]
    with pytest.raises(ConfigurationError, match=r"nothing-here\.toml: cannot be read"):
        load_settings(tmp_path / "nothing-here.toml", {})


def test_one_licence_may_be_written_without_a_list(tmp_path: Path) -> None:
    """`accept_licence = "research"` means the same as a list of one."""
    path = tmp_path / "node.toml"
    path.write_text('[models]\naccept_licence = "research"\n')
    assert load_settings(path, {}).models.accept_licence == ("research",)


@pytest.mark.parametrize("value", ["-701", "1", "nan"])
def test_the_density_of_consolidation_has_limits(tmp_path: Path, value: str) -> None:
    """Below ground glass and above soft tissue no value makes sense; inside the range it arrives."""
    (fault,) = faults_of(tmp_path, f"[models]\nconsolidation_from_hu = {value}\n")
    assert "models.consolidation_from_hu" in fault
    sound = {"LESION_NODE__MODELS__CONSOLIDATION_FROM_HU": "-250.5"}
    assert load_settings(None, sound).models.consolidation_from_hu == -250.5


@given(title=st.text(max_size=20))
def test_ae_titles_are_trimmed_and_checked(title: str) -> None:
    """Whatever is typed as an AE title is either valid by PS3.5 6.2 after trimming, or a named fault."""
    import json

    variable = {"LESION_NODE__NODE__AE_TITLE": json.dumps(title)}
    faults: list[str] = []
    accepted = ""
    try:
        accepted = load_settings(None, variable).node.ae_title
    except ConfigurationError as error:
        faults = error.faults
    trimmed = title.strip(" ")
    sound = 1 <= len(trimmed) <= 16 and "\\" not in trimmed and trimmed.isascii() and trimmed.isprintable()
    assert accepted == (trimmed if sound else "")
    assert all("node.ae_title" in fault for fault in faults)
    assert bool(faults) is not sound


def test_a_wrong_destination_is_told_beside_other_faults(tmp_path: Path) -> None:
    """An unknown peer is named even where other values keep the file from loading; a list gives one line."""
    faults = faults_of(
        tmp_path,
        """
        peers = [{name = "pacs", ae_title = "PACS", host = "192.0.2.1", port = 0}]
        [[sources]]
        name = "ct"
        ae_titles = ["A_TITLE_FAR_TOO_LONG"]
        networks = ["192.0.2.2"]
        send_to = ["x"]
        """,
    )
    assert len(faults) == 3
    assert sum("send_to" in fault for fault in faults) == 1
    assert sum("ae_titles" in fault for fault in faults) == 1


def test_an_ae_title_of_digits_needs_no_quotes_in_the_environment() -> None:
    """A variable that looks like a number is still an AE title."""
    assert load_settings(None, {"LESION_NODE__NODE__AE_TITLE": "4711"}).node.ae_title == "4711"


@pytest.mark.parametrize(
    "shared",
    ["", "/mnt/lesion-node", "file:///mnt/lesion-node", "s3://bucket", "s3://bucket/pre-fix/of_it/"],
)
def test_shared_storage_is_a_folder_or_a_bucket(shared: str) -> None:
    """What can be typed in, and the folder that it means."""
    shared_ledger = {"LESION_NODE__LEDGER__URL": "postgresql+psycopg://u@db/ledger"}
    settings = load_settings(EXAMPLE, {"LESION_NODE__STORAGE__SHARED": shared, **shared_ledger})
    assert settings.storage.shared == shared
    assert settings.storage.folder == (Path("/mnt/lesion-node") if "mnt" in shared else None)


def test_late_flushing_is_for_one_machine() -> None:
    """Who seals a series cannot flush the files of another machine."""
    shared = {"STORAGE__SHARED": "/mnt/lesion-node", "LEDGER__URL": "postgresql+psycopg://u@db/ledger"}
    variables = {f"LESION_NODE__{key}": value for key, value in shared.items()}
    with pytest.raises(ConfigurationError, match=r'reception\.durability: found "seal", wanted "ack"'):
        load_settings(EXAMPLE, {**variables, "LESION_NODE__RECEPTION__DURABILITY": "seal"})
    late = {"LESION_NODE__RECEPTION__DURABILITY": "seal"}
    assert load_settings(EXAMPLE, late).reception.flushes_late
    with pytest.raises(ConfigurationError, match=r'wanted "ack" with storage_commitment = "here"'):
        load_settings(EXAMPLE, {**late, "LESION_NODE__SOURCES__0__STORAGE_COMMITMENT": "here"})
    with pytest.raises(ConfigurationError, match=r"reception\.durability"):
        load_settings(EXAMPLE, {"LESION_NODE__RECEPTION__DURABILITY": "never"})


def test_shared_storage_without_a_shared_ledger_is_a_fault() -> None:
    """Several machines cannot share one SQLite file."""
    with pytest.raises(ConfigurationError, match=r"ledger\.url: missing, wanted the PostgreSQL database"):
        load_settings(EXAMPLE, {"LESION_NODE__STORAGE__SHARED": "s3://bucket"})


@pytest.mark.parametrize(
    "shared", ["mnt/x", "file://host/x", "s3://", "s3://b/../c", "s3://key:word@b", "gs://b"]
)
def test_other_kinds_of_shared_storage_are_faults(shared: str) -> None:
    """The fault shows what is wanted."""
    with pytest.raises(ConfigurationError, match=r"storage\.shared: .*wanted a folder"):
        load_settings(EXAMPLE, {"LESION_NODE__STORAGE__SHARED": shared})


def test_storage_keys_that_do_not_fit_together_are_faults(tmp_path: Path) -> None:
    """Half an access key, keys of S3 beside a folder, the node's own folder; no fault repeats the secret."""
    faults = faults_of(
        tmp_path,
        """
        [node]
        data_folder = "/var/lib/lesion-node"
        [ledger]
        url = "postgresql://db/ledger"
        [storage]
        shared = "/var/lib/lesion-node/shared"
        endpoint = "https://store.example:9000"
        secret = "do-not-tell"
        """,
    )
    text = "\n".join(faults)
    assert len(faults) == 4
    for key in (
        "storage.key: missing",
        "storage.endpoint: found",
        "storage.secret: found",
        "storage.shared: found",
    ):
        assert key in text
    assert "do-not-tell" not in text


def test_the_secret_of_the_storage_comes_from_the_environment_and_is_not_shown() -> None:
    """Printing the settings, as a traceback or a log may do, does not tell it."""
    settings = load_settings(
        EXAMPLE,
        {
            "LESION_NODE__LEDGER__URL": "postgresql://node:tell-nobody@db/ledger",
            "LESION_NODE__STORAGE__SHARED": "s3://bucket",
            "LESION_NODE__STORAGE__KEY": "node",
            "LESION_NODE__STORAGE__SECRET": "do-not-tell",
        },
    )
    assert settings.storage.secret.get_secret_value() == "do-not-tell"
    assert "do-not-tell" not in repr(settings)
    assert "tell-nobody" not in repr(settings)
    assert "do-not-tell" not in settings.model_dump_json()


WEB_PEER = '[[peers]]\nname = "web"\nkind = "dicomweb"\nurl = "https://pacs.example:8443/dicom-web/"\n'


def test_a_peer_is_a_pacs_by_dimse_unless_it_says_otherwise(tmp_path: Path) -> None:
    """Without `kind` everything is as it was; a DICOMweb destination has keys of its own."""
    path = tmp_path / "node.toml"
    path.write_text(
        '[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "192.0.2.1"\nport = 104\n'
        f'{WEB_PEER}user = "node"\nobjects = ["film"]\n'
    )
    settings = load_settings(path, {"LESION_NODE__PEERS__1__PASSWORD": "1_0"})
    pacs, web = settings.peers
    assert isinstance(pacs, DimsePeerSettings)
    assert isinstance(web, DicomwebPeerSettings)
    assert web.url == "https://pacs.example:8443/dicom-web"
    assert web.password is not None
    assert web.password.get_secret_value() == "1_0"
    assert "1_0" not in f"{settings} {settings.model_dump()} {settings.model_dump_json()}"


DIMSE_WITH_URL = '[[peers]]\nname = "pacs"\nae_title = "PACS"\nport = 104\nurl = "https://pacs.example"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{WEB_PEER}port = 104\n",
            ['port: belongs to peers of kind = "dimse", this one is of kind "dicomweb"'],
        ),
        (
            DIMSE_WITH_URL,
            [
                "host: missing, wanted a value",
                'url: belongs to peers of kind = "dicomweb", this one is of kind "dimse"',
            ],
        ),
        (f"{WEB_PEER}ca_fiel = 1\n", ['ca_fiel: unknown key, did you mean "ca_file"?']),
        (
            f'{WEB_PEER}ca_file = "/not/there.pem"\n',
            ['ca_file: found "/not/there.pem", wanted a file that is there'],
        ),
        (
            '[[peers]]\nname = "web"\nkind = "ftp"\npassword = "hidden"\n',
            ['kind: found "ftp", wanted "dimse" or "dicomweb"'],
        ),
        (f'{WEB_PEER}password = "hidden"\n', [": wanted user and password together, or neither"]),
        (
            f'{WEB_PEER}user = "node"\npassword = "hidden"\ntoken = "hidden"\n',
            [": wanted either user and password, or token, not both"],
        ),
        (
            f'{WEB_PEER}token = ["hidden"]\n',
            ["token: found a value that is not shown here, wanted a valid string"],
        ),
    ],
)
def test_faults_of_destinations_say_what_belongs_where(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    """A key of the other kind, a missing one, half a login: one line each, and never a secret."""
    faults = faults_of(tmp_path, text)
    assert [fault.split("peers[0]", 1)[1].removeprefix(".") for fault in faults] == expected


@pytest.mark.parametrize(
    "url",
    ["pacs.example", "ftp://pacs.example", "https://", "https://pacs.example/a?b=c", "https://pacs:port/",
     "https://node:hidden@pacs.example/dicom-web"],
)  # fmt: skip
def test_the_address_of_a_service_is_checked(tmp_path: Path, url: str) -> None:
    """Scheme, host and path; credentials belong into keys of their own, and are not echoed."""
    (fault,) = faults_of(tmp_path, f'[[peers]]\nname = "web"\nkind = "dicomweb"\nurl = "{url}"\n')
    assert "peers[0].url: found" in fault
    assert "hidden" not in fault


def test_room_is_made_before_images_are_refused(tmp_path: Path) -> None:
    """A mark at or below the floor would come too late; none is five times the floor, 0 is never."""
    text = "[reception]\ndisk_floor_mb = 100\n[retention]\nmake_room_below_mb = {}\n"
    (fault,) = faults_of(tmp_path, text.format(100))
    assert "retention.make_room_below_mb: found 100, wanted more than reception.disk_floor_mb (100)" in fault
    for value, wanted in (("101", 101), ("0", 0)):
        (tmp_path / "node.toml").write_text(text.format(value))
        assert load_settings(tmp_path / "node.toml", {}).retention.make_room_mb(100) == wanted
    assert load_settings(EXAMPLE, {}).retention.make_room_mb(2048) == 10240


def test_limits_of_a_source_are_told_with_what_is_wanted(tmp_path: Path) -> None:
    """A rate of nothing, an age of nothing and an unknown priority are faults of their own."""
    faults = faults_of(
        tmp_path,
        """
        [[sources]]
        name = "archive"
        ae_titles = ["OLD"]
        networks = ["192.0.2.1"]
        send_to = ["pacs"]
        priority = "lowest"
        max_age_days = 0
        series_per_hour = 0
        analyse = "never"
        """,
    )
    for key, wanted in (
        ("priority", "wanted 'urgent', 'routine' or 'low'"),
        ("max_age_days", "wanted greater than 0"),
        ("series_per_hour", "wanted greater than or equal to 1"),
        ("analyse", "wanted 'best-per-acquisition', 'every' or 'none'"),
    ):
        assert any(f"sources[0].{key}: found" in fault and wanted in fault for fault in faults), faults


def commitment_faults_of(tmp_path: Path, source: str, peer: str = "") -> list[str]:
    """Return the faults of a source's lines about storage commitment."""
    text = f"""
        [[peers]]
        name = "pacs"
        ae_title = "PACS"
        host = "pacs.example"
        port = 104
        {peer}
        [[sources]]
        name = "ct"
        ae_titles = ["CT1", "CT2"]
        networks = ["192.0.2.0/24"]
        send_to = ["pacs"]
        {source}
        """
    return faults_of(tmp_path, text)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (
            'storage_commitment = "archive"\ncommitment_port = 104',
            "archive: missing, wanted the DIMSE peer that",
        ),
        (
            'storage_commitment = "archive"\narchive = "pax"\ncommitment_port = 104',
            'archive: found "pax", wanted the DIMSE peer that archives ("pacs")',
        ),
        ('archive = "pacs"', 'archive: found "pacs", wanted it only with storage_commitment = "archive"'),
        ('storage_commitment = "here"', 'commitment_port: missing, wanted the port on which "CT1" listens'),
        ('storage_commitment = "yes"', "storage_commitment: found"),
    ],
)
def test_commitment_that_could_not_be_answered_is_a_fault(tmp_path: Path, lines: str, fault: str) -> None:
    """Nobody vouches, or it is not known where the sender listens."""
    (found,) = commitment_faults_of(tmp_path, lines)
    assert f"sources[0].{fault}" in found


def test_the_port_of_a_sender_may_be_that_of_a_peer(tmp_path: Path) -> None:
    """Each of its AE titles needs one."""
    also = '[[peers]]\nname = "ct1"\nae_title = "CT1"\nhost = "192.0.2.1"\nport = 4242'
    (found,) = commitment_faults_of(tmp_path, 'storage_commitment = "here"', also)
    assert '"CT2" listens' in found


PEERS = """
[[peers]]
name = "pacs"
ae_title = "PACS"
host = "192.0.2.1"
port = 104
[[peers]]
name = "web"
kind = "dicomweb"
url = "https://platform.example/dicom-web"
"""
SOURCE = '[[sources]]\nname = "ct"\nae_titles = ["CT"]\nnetworks = ["192.0.2.2"]\nsend_to = ["pacs"]\n'


@pytest.mark.parametrize(
    ("options", "key", "wanted"),
    [
        ('priors = "pacs"', "priors_from: missing", 'wanted the DIMSE peer that has earlier scans ("pacs")'),
        ('priors = "pacs"\npriors_from = "web"', 'priors_from: found "web"', "DIMSE peer"),
        ('priors_from = "pacs"', 'priors_from: found "pacs"', 'only with priors = "pacs"'),
        ("report_priors = true", "report_priors: found true", 'only with priors = "pacs"'),
        ('priors = "archive"', "sources[0].priors", "'none', 'history' or 'pacs'"),
    ],
)
def test_where_earlier_scans_come_from_has_to_be_a_pacs(
    tmp_path: Path, options: str, key: str, wanted: str
) -> None:
    """Each contradiction is one line that names the key and what is wanted."""
    (fault,) = faults_of(tmp_path, f"{PEERS}{SOURCE}{options}\n")
    assert key in fault
    assert wanted in fault


def test_only_peers_that_sources_name_are_asked_for_earlier_scans(tmp_path: Path) -> None:
    """By default none; a source's `priors_from` one; with the comparison switched off none again."""
    path = tmp_path / "node.toml"
    asked = 'priors = "pacs"\npriors_from = "pacs"\n'
    for options, names in [("", []), (asked, ["pacs"]), (f"{asked}[comparison]\nenabled = false\n", [])]:
        path.write_text(f"{PEERS}{SOURCE}{options}")
        assert [peer.name for peer in load_settings(path, {}).prior_peers] == names
