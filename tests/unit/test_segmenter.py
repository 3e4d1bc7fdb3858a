"""The path on which every model runs: providers, windows, resampling, orientation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from core.domain import CtVolume, LungMask
from core.errors import InferenceError, ModelIntegrity, ProviderUnavailable
from core.geometry import Geometry
from inference.decisions import by_channel
from inference.manifest import ModelInput
from inference.model_package import ModelPackage
from inference.resampling import choose_sampling
from inference.segmenter import Segmenter
from inference.session import CPU_PROVIDER, CudaOptions, ExecutionPolicy, ModelSession, open_session
from inference.tiles import axis_tiles, tiles
from inference.windows import run_windows
from tests.helpers.packages import TinyModel, shift_nodes, tiny_package, write_package

SPACING_ZYX_MM = (2.5, 0.8, 0.8)


def segmenter(folder: Path, model: TinyModel | None = None) -> Segmenter:
    """Write, load and open a package on the CPU."""
    package = tiny_package(folder, model)
    return Segmenter(package, open_session(package, ExecutionPolicy.CPU))


def volume(
    hu_zyx: NDArray[np.int16], spacing_zyx_mm: tuple[float, float, float] = SPACING_ZYX_MM
) -> CtVolume:
    """Put voxels into a supine patient, head up."""
    affine = np.diag([*spacing_zyx_mm, 1.0])[[2, 1, 0, 3]]
    return CtVolume(hu_zyx, Geometry(affine, hu_zyx.shape, ""), (), ())


def everywhere(hu_zyx: NDArray[np.int16]) -> LungMask:
    """Call every voxel lung."""
    return LungMask(np.ones(hu_zyx.shape, dtype=np.uint8))


def half_on(shape: tuple[int, int, int], seed: int) -> NDArray[np.int16]:
    """Voxels that a threshold at 0 HU parts in two, none of them near it."""
    on = np.random.default_rng(seed).random(shape) < 0.5
    return np.where(on, 500, -500).astype(np.int16)


# --- execution providers ----------------------------------------------------------------------------------


class FakeSession:
    """What ONNX Runtime would give back; answers what it is told to."""

    def __init__(self, real: Any, answer: Callable[[Any], Any]) -> None:
        self.real = real
        self.answer = answer

    def get_inputs(self) -> Any:
        """As the real one."""
        return self.real.get_inputs()

    def get_outputs(self) -> Any:
        """As the real one."""
        return self.real.get_outputs()

    def get_providers(self) -> list[str]:
        """Always the CPU."""
        return [CPU_PROVIDER]

    def run(self, _names: Any, feed: Any) -> Any:
        """Give the answer."""
        return [self.answer(feed["x"])]


def faking(package: ModelPackage, answer: Callable[[Any], Any]) -> ModelSession:
    """A session whose graph gives the answer."""
    real = ort.InferenceSession(package.model_bytes(), providers=[CPU_PROVIDER])
    return ModelSession(FakeSession(real, answer), package.manifest)


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without CUDA, whatever this one has."""

    def complain() -> None:
        print("Failed to load libcublasLt.so: no such file")  # noqa: T201

    real = ort.InferenceSession

    def on_cpu(content: bytes, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
        # ONNX Runtime itself drops a provider that it cannot load, and says nothing.
        return real(content, options, providers=[CPU_PROVIDER], enable_fallback=enable_fallback)

    monkeypatch.setattr(ort, "preload_dlls", complain)
    monkeypatch.setattr(ort, "InferenceSession", on_cpu)


@pytest.mark.usefixtures("no_cuda")
def test_a_required_gpu_that_is_missing_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runtime's silent fall-back to the CPU is noticed, and the message says what to install."""
    with pytest.raises(ProviderUnavailable, match=r"libcublasLt.*lesion-node\[gpu\]"):
        open_session(tiny_package(tmp_path / "tiny"), ExecutionPolicy.REQUIRE_GPU)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("no_cuda")
def test_a_preferred_gpu_that_is_missing_leaves_a_reason(tmp_path: Path) -> None:
    """The caller learns that, and why, the model runs on the CPU."""
    session = open_session(tiny_package(tmp_path / "tiny"), ExecutionPolicy.PREFER_GPU)
    assert session.provider == CPU_PROVIDER
    assert "libcublasLt" in str(session.fallback_reason)


def test_policy_cpu_runs_on_the_cpu(tmp_path: Path) -> None:
    """No reason is left, because nothing fell back; warming up works."""
    session = open_session(tiny_package(tmp_path / "tiny"), ExecutionPolicy.CPU, threads=1)
    session.warm_up()
    assert (session.provider, session.fallback_reason) == (CPU_PROVIDER, None)


def test_cuda_options_are_spelt_for_the_runtime() -> None:
    """The arena grows by what is asked for, its limit is in bytes, and factors are not rounded to TF32."""
    options = CudaOptions(convolution_search="EXHAUSTIVE", memory_limit_mb=2).as_provider_options()
    assert options == {
        "device_id": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "use_tf32": "0",
        "gpu_mem_limit": "2097152",
    }


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda batch: batch[..., :-1], "has shape"),
        (lambda batch: batch * np.float32(np.nan), "not numbers"),
        (lambda batch: batch + np.float32(np.inf), "not numbers"),
    ],
)
def test_nonsense_from_the_graph_is_an_error(
    tmp_path: Path, answer: Callable[[Any], Any], words: str
) -> None:
    """Another shape or values that are no numbers never become an empty mask."""
    with pytest.raises(InferenceError, match=words):
        faking(tiny_package(tmp_path / "tiny"), answer).warm_up()


def test_a_batch_of_another_shape_is_refused(tmp_path: Path) -> None:
    """The device sees one shape only."""
    session = open_session(tiny_package(tmp_path / "tiny"), ExecutionPolicy.CPU)
    with pytest.raises(InferenceError, match="was given float32"):
        session.run(np.zeros((1, 1, 8, 16, 15), dtype=np.float32))


def test_a_graph_with_another_channel_count_is_not_opened(tmp_path: Path) -> None:
    """The session compares the graph with the manifest before it runs anything."""
    concat = [helper.make_node("Concat", ["x", "x"], ["y"], axis=1)]
    model = TinyModel(channels=2, nodes=concat, replace={"channels = 2": "channels = 1"})
    with pytest.raises(ModelIntegrity, match="the manifest leads to"):
        segmenter(tmp_path / "tiny", model)


# --- windows ----------------------------------------------------------------------------------------------


@given(st.integers(1, 90), st.integers(1, 40), st.floats(0, 0.75))
def test_windows_cover_an_axis_with_weight_one(length: int, patch: int, overlap: float) -> None:
    """No voxel is left out, none counts twice, windows overlap as asked and never leave the array."""
    windows = axis_tiles(length, patch, overlap)
    total = np.zeros(length)
    for window in windows:
        assert window.at.stop - window.at.start == window.inside.stop - window.inside.start
        assert 0 <= window.inside.start < window.inside.stop <= length
        assert 0 <= window.at.start < window.at.stop <= patch
        total[window.inside] += window.weights
    np.testing.assert_allclose(total, 1.0, atol=1e-6)
    for first, second in pairwise(windows):
        assert first.inside.stop - second.inside.start >= int(patch * overlap) - 1
        assert second.inside.start > first.inside.start


def test_a_patch_larger_than_the_array_has_it_in_its_middle() -> None:
    """Padding is spread to both sides, as in training."""
    (window,) = tiles((4, 5, 6), (8, 9, 6), 0.5)
    assert window.inside == (slice(0, 4), slice(0, 5), slice(0, 6))
    assert window.at == (slice(2, 6), slice(2, 7), slice(0, 6))


Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def runner(folder: Path, model: TinyModel) -> Run:
    """Write, load and open a package; return what runs its channel 0 over an array."""
    package = tiny_package(folder, model)
    session = open_session(package, ExecutionPolicy.CPU)
    return lambda values: run_windows(session, package.manifest, values, [0], lambda _share: None)


@pytest.fixture(scope="module")
def blended(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model that gives back what it is given, in small overlapping windows."""
    return runner(tmp_path_factory.mktemp("models") / "tiny", TinyModel(patch_zyx=(6, 8, 10), batch=3))


@settings(max_examples=25)
@given(st.tuples(st.integers(1, 20), st.integers(1, 30), st.integers(1, 30)), st.integers(0, 2**31))
def test_blending_reproduces_the_input(blended: Run, shape: tuple[int, int, int], seed: int) -> None:
    """Whatever the size, cutting into windows and blending them changes nothing."""
    values = np.random.default_rng(seed).uniform(-1024, 1024, shape).astype(np.float32)
    np.testing.assert_allclose(blended(values)[0], (values + 1024) / 2048, atol=1e-5)


@pytest.mark.parametrize("axes", ["NCYX", "NCZYX"])
def test_slices_and_blocks_take_one_path(tmp_path: Path, axes: str) -> None:
    """A slice-wise model in batches gives what a block model gives."""
    patch = (1, 16, 16) if axes == "NCYX" else (4, 16, 16)
    runs = segmenter(tmp_path / "tiny", TinyModel(axes=axes, patch_zyx=patch, batch=4))
    hu = half_on((7, 20, 25), 3)
    found = runs.segment(volume(hu), everywhere(hu)).lesions.labels_zyx
    np.testing.assert_array_equal(found, (hu > 0).astype(np.uint8))


# --- decisions --------------------------------------------------------------------------------------------


def test_softmax_reads_the_labelled_channel(tmp_path: Path) -> None:
    """Background is a channel of its own; the finding's channel is found by its number."""
    nodes = [helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Concat", ["n", "x"], ["y"], axis=1)]
    model = TinyModel(
        nodes=nodes,
        channels=2,
        label_channel=1,
        activation="softmax",
        replace={"to = [0, 1]": "to = [-4, 4]"},
    )
    hu = half_on((5, 12, 12), 4)
    found = segmenter(tmp_path / "tiny", model).segment(volume(hu), everywhere(hu)).lesions.labels_zyx
    np.testing.assert_array_equal(found > 0, hu > 0)


def test_sigmoid_is_applied_where_asked(tmp_path: Path) -> None:
    """Logits become probabilities before they are blended."""
    model = TinyModel(activation="sigmoid", replace={"to = [0, 1]": "to = [-4, 4]"})
    values = np.full((3, 3, 3), 1024.0, dtype=np.float32)
    found = runner(tmp_path / "tiny", model)(values)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-4.0)), rtol=1e-5)


def test_logits_taken_for_probabilities_are_an_error(tmp_path: Path) -> None:
    """A forgotten activation is told, not thresholded."""
    runs = segmenter(tmp_path / "tiny", TinyModel(replace={"to = [0, 1]": "to = [-4, 4]"}))
    hu = half_on((3, 8, 8), 5)
    with pytest.raises(InferenceError, match="no probabilities"):
        runs.segment(volume(hu), everywhere(hu))


def test_decisions_each_and_sum() -> None:
    """Shares of one whole add up; independent findings do not; the strongest names the voxel."""
    labels = tuple(SimpleNamespace(finding=finding) for finding in ("ground_glass", "consolidation"))
    probabilities = np.array([[0.3, 0.6, 0.2, 0.3], [0.3, 0.1, 0.7, 0.1]], dtype=np.float32)
    together = SimpleNamespace(labels=labels, threshold=0.5, decision="sum")
    alone = SimpleNamespace(labels=labels, threshold=0.5, decision="each")
    assert by_channel(probabilities, together).tolist() == [1, 1, 2, 0]
    assert by_channel(probabilities, alone).tolist() == [0, 1, 2, 0]


# --- the lungs --------------------------------------------------------------------------------------------


def test_nothing_is_found_outside_the_lungs(tmp_path: Path) -> None:
    """The lungs are the last word, voxel by voxel."""
    hu = np.full((9, 20, 20), 500, dtype=np.int16)
    lungs = np.zeros(hu.shape, dtype=np.uint8)
    lungs[3:6, 5:9, 4:12] = 2
    found = segmenter(tmp_path / "tiny").segment(volume(hu), LungMask(lungs)).lesions.labels_zyx
    np.testing.assert_array_equal(found > 0, lungs > 0)


def test_the_surroundings_can_be_hidden_from_the_model(tmp_path: Path) -> None:
    """outside_lungs_hu replaces the chest wall: a model that looks at its neighbour sees none."""
    nodes, kernels = shift_nodes((0, 0, 1))
    model = TinyModel(nodes=nodes, initializers=kernels, margin_mm=5.0, extra="outside_lungs_hu = -860")
    hu = np.full((5, 16, 16), 500, dtype=np.int16)
    lungs = np.zeros(hu.shape, dtype=np.uint8)
    lungs[1:4, 4:12, 4:12] = 1
    found = segmenter(tmp_path / "tiny", model).segment(volume(hu), LungMask(lungs)).lesions.labels_zyx
    expected = lungs.copy()
    expected[:, :, 11] = 0
    np.testing.assert_array_equal(found, expected)


def test_a_model_without_lungs_of_its_own_leaves_the_lungs(tmp_path: Path) -> None:
    """What was given comes back, and there is nothing to remark."""
    hu = half_on((4, 8, 8), 10)
    lungs = everywhere(hu)
    found = segmenter(tmp_path / "tiny").segment(volume(hu), lungs)
    assert found.lungs is lungs
    assert found.remarks == ()


def test_no_lungs_no_lesions(tmp_path: Path) -> None:
    """An empty mask is an answer, and progress still ends at 1."""
    hu = half_on((4, 8, 8), 6)
    seen: list[float] = []
    empty = LungMask(np.zeros(hu.shape, dtype=np.uint8))
    found = segmenter(tmp_path / "tiny").segment(volume(hu), empty, seen.append)
    assert not found.lesions.labels_zyx.any()
    assert seen[-1] == 1.0


def test_lungs_of_another_grid_are_refused(tmp_path: Path) -> None:
    """Never a mask that fits by chance."""
    hu = half_on((4, 8, 8), 7)
    with pytest.raises(InferenceError, match="one grid"):
        segmenter(tmp_path / "tiny").segment(volume(hu), LungMask(np.ones((4, 8, 9), dtype=np.uint8)))


def test_progress_rises_from_zero_to_one(tmp_path: Path) -> None:
    """Each step is further than the one before."""
    seen: list[float] = []
    hu = half_on((30, 20, 20), 8)
    segmenter(tmp_path / "tiny").segment(volume(hu), everywhere(hu), seen.append)
    assert seen[0] == 0.0
    assert seen[-1] == 1.0
    assert seen == sorted(seen)
    assert len(seen) > 5


def test_the_mask_says_how_it_was_made(tmp_path: Path) -> None:
    """Threshold, spacing and the provider that really ran are in the identity."""
    hu = half_on((4, 8, 8), 9)
    made = segmenter(tmp_path / "tiny").segment(volume(hu), everywhere(hu)).lesions.model
    assert made.parameters == (
        "threshold 0.5; spacing z native, in-plane native mm; overlap 0.5; CPUExecutionProvider"
    )


# --- orientation and resampling ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looks_aside(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """A model that calls a voxel what stands one step to the head, the back and the left of it."""
    nodes, kernels = shift_nodes((1, 1, 1))
    model = TinyModel(nodes=nodes, initializers=kernels, patch_zyx=(24, 40, 40))
    return segmenter(tmp_path_factory.mktemp("models") / "tiny", model)


@settings(max_examples=30)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.tuples(st.integers(2, 12), st.integers(2, 12), st.integers(2, 12)),
    st.integers(0, 2**31),
)
def test_storage_order_does_not_change_the_anatomy(
    looks_aside: Segmenter,
    axes: list[int],
    flips: tuple[bool, bool, bool],
    shape: tuple[int, int, int],
    seed: int,
) -> None:
    """Head first or feet first, supine or prone, axial or coronal: the same voxels of the patient."""
    hu = half_on(shape, seed)
    upright = volume(hu)
    expected = looks_aside.segment(upright, everywhere(hu)).lesions.labels_zyx
    shifted = np.zeros(hu.shape, dtype=np.uint8)
    shifted[:-1, :-1, :-1] = hu[1:, 1:, 1:] > 0
    np.testing.assert_array_equal(expected[:-1, :-1, :-1], shifted[:-1, :-1, :-1])

    stored, affine = hu, upright.geometry.affine_lps.copy()
    for axis, flip in enumerate(flips):
        if flip:
            stored = np.flip(stored, axis)
            affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
            affine[:3, axis] *= -1
    stored = np.ascontiguousarray(stored.transpose(axes))
    affine[:3, :3] = affine[:3, axes]
    other = CtVolume(stored, Geometry(affine, stored.shape, ""), (), ())
    found = looks_aside.segment(other, everywhere(stored)).lesions.labels_zyx

    back = found.transpose(np.argsort(axes))
    for axis, flip in enumerate(flips):
        back = np.flip(back, axis) if flip else back
    np.testing.assert_array_equal(back, expected)


def ball(shape: tuple[int, int, int], spacing: tuple[float, float, float], radius_mm: float) -> NDArray[Any]:
    """Share of each voxel inside a ball in the middle, softened over 2 mm."""
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.clip(0.5 + (radius_mm - np.sqrt(z**2 + y**2 + x**2)) / 2.0, 0.0, 1.0)


@settings(max_examples=20)
@given(st.floats(0.7, 5.0), st.floats(0.5, 1.2), st.floats(0.8, 2.0), st.floats(0.8, 2.0))
def test_resampling_there_and_back_moves_nothing(
    z_mm: float, in_plane_mm: float, target_z: float, target_in_plane: float
) -> None:
    """A ball keeps its place within a tenth of a voxel and its volume within some percent."""
    spacing = (z_mm, in_plane_mm, in_plane_mm)
    shape = (round(44 / z_mm), round(44 / in_plane_mm), round(46 / in_plane_mm))
    share = ball(shape, spacing, 14.0)
    hu = np.rint(share * 1000 - 500).astype(np.int16)
    wanted = ModelInput.model_validate(
        {
            "name": "x",
            "axes": "NCZYX",
            "channels": 1,
            "spacing_mm": {"z": target_z, "in_plane": target_in_plane},
            "patch_zyx": [8, 8, 8],
        }
    )
    inside = np.ones(shape, dtype=np.uint8)
    sampling = choose_sampling(inside, spacing, wanted)
    assert sampling is not None
    values = sampling.to_model(hu, inside)[np.newaxis]
    back = np.stack([sampling.on_scan(values, plane)[0] for plane in range(shape[0])])
    on = back > 0
    assert on.sum() == pytest.approx(np.count_nonzero(hu > 0), rel=0.06)
    centre = np.array([indices.mean() for indices in np.nonzero(on)])
    np.testing.assert_allclose(centre, (np.array(shape) - 1) / 2, atol=0.1)


def test_native_spacing_leaves_voxels_alone() -> None:
    """Where nothing has to be resampled, nothing is interpolated."""
    hu = np.random.default_rng(1).integers(-1000, 1000, (6, 9, 11)).astype(np.int16)
    wanted = ModelInput.model_validate(
        {
            "name": "x",
            "axes": "NCZYX",
            "channels": 1,
            "spacing_mm": {"z": "native", "in_plane": "native"},
            "patch_zyx": [8, 8, 8],
            "margin_mm": 0,
        }
    )
    inside = np.zeros(hu.shape, dtype=np.uint8)
    inside[2:5, 3:8, 1:10] = 1
    sampling = choose_sampling(inside, SPACING_ZYX_MM, wanted)
    assert sampling is not None
    values = sampling.to_model(hu, inside)
    np.testing.assert_array_equal(values, hu[2:5, 3:8, 1:10])
    np.testing.assert_array_equal(sampling.on_scan(values[np.newaxis], 1)[0], hu[3, 3:8, 1:10])


def test_the_box_keeps_its_margin_inside_the_scan() -> None:
    """Millimetres become voxels of each axis, and end where the scan ends."""
    wanted = ModelInput.model_validate(
        {
            "name": "x",
            "axes": "NCZYX",
            "channels": 1,
            "spacing_mm": {"z": 2.5, "in_plane": 1.6},
            "patch_zyx": [8, 8, 8],
            "margin_mm": 4,
        }
    )
    inside = np.zeros((20, 40, 40), dtype=np.uint8)
    inside[1:10, 10:20, 30:39] = 2
    sampling = choose_sampling(inside, SPACING_ZYX_MM, wanted)
    assert sampling is not None
    assert sampling.box == (slice(0, 12), slice(5, 25), slice(25, 40))
    assert sampling.shape_zyx == (12, 10, 8)


def test_a_package_that_changed_under_the_node_is_not_opened(tmp_path: Path) -> None:
    """Between loading and opening nobody swaps the model."""
    package = tiny_package(tmp_path / "tiny")
    write_package(tmp_path / "tiny", TinyModel(opset=16))
    with pytest.raises(ModelIntegrity, match="sha256"):
        open_session(package, ExecutionPolicy.CPU)
