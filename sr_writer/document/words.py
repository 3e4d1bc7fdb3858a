"""Words of the document beyond those of the film. A further language is one more entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.comparison import Direction
from core.domain import Language


@dataclass(frozen=True, slots=True)
class DocumentWords:
    """What the document says in one language; braces are filled in.

    Parameters
    ----------
    film
        What page 1 shows, for readers who cannot see it.
    burden, nothing_found
        First sentence of the summary, with and without lesions.
    stop
        What ends a sentence and parts it from the next.
    regions
        Above the table of findings.
    volume, share, attenuation, lung, lesion, share_of_zone, score
        Heads of columns.
    thirds
        Rows of the zones, from the head down.
    number, side, lesion_class, consolidation, axes
        Heads of the columns of single lesions.
    examined, images, slice_spacing, pixel_spacing
        What was examined.
    made_by, lesions_by, lungs_by, model_digest, node, computed
        What measured it.
    burden_before, burden_before_undated
        Sentence of the summary about the change.
    difference, directions
        What a change is called, by `core.comparison.Direction`; undetermined where its limit is not known.
    number_before, fate
        Heads of columns of single lesions that changed.
    page
        Foot of every page.
    """

    film: str
    burden: str
    nothing_found: str
    stop: str
    regions: str
    volume: str
    share: str
    attenuation: str
    lung: str
    lesion: str
    share_of_zone: str
    score: str
    thirds: Mapping[str, str]
    number: str
    side: str
    lesion_class: str
    consolidation: str
    axes: str
    examined: str
    images: str
    slice_spacing: str
    pixel_spacing: str
    made_by: str
    lesions_by: str
    lungs_by: str
    model_digest: str
    node: str
    computed: str
    burden_before: str
    burden_before_undated: str
    difference: str
    directions: Mapping[str, str]
    number_before: str
    fate: str
    page: str


_ENGLISH = DocumentWords(
    film="Film: six slices with outlines, both lungs from the front, and the main numbers of page 2",
    burden="Lesions take {volume} ml, {percent} % of both lungs",
    nothing_found="No lesion was found",
    stop=". ",
    regions="Findings by lung",
    volume="ml",
    share="% of lung",
    attenuation="mean HU",
    lung="Lung ml",
    lesion="lesion ml",
    share_of_zone="% of zone",
    score="score",
    thirds={"upper": "Upper third", "middle": "Middle third", "lower": "Lower third"},
    number="No.",
    side="Lung",
    lesion_class="Class",
    consolidation="% consolidation",
    axes="axes, mm",
    examined="Examined",
    images="Images",
    slice_spacing="Slice distance",
    pixel_spacing="Pixel size",
    made_by="Made by",
    lesions_by="Lesions",
    lungs_by="Lungs",
    model_digest="SHA-256 of the model",
    node="Node",
    computed="Computed",
    burden_before="On {date} lesions took {volume} ml, {percent} % of both lungs "
    "({points} percentage points since): {course}",
    burden_before_undated="In the earlier scan lesions took {volume} ml, {percent} % of both lungs "
    "({points} percentage points since): {course}",
    difference="difference",
    directions={
        Direction.INCREASE: "increase",
        Direction.DECREASE: "decrease",
        Direction.NO_SIGNIFICANT_CHANGE: "no significant change",
        "undetermined": "undetermined",
    },
    number_before="No. before",
    fate="Course",
    page="Page {page} of {pages}",
)

_CHINESE = DocumentWords(
    film="图片页：六层带轮廓的图像、正位概览及第2页的主要数值",
    burden="病灶体积 {volume} ml，占双肺 {percent} %",
    nothing_found="未检出病灶",
    stop="。",
    regions="各肺病变",
    volume="ml",
    share="占肺 %",
    attenuation="平均 HU",
    lung="肺 ml",
    lesion="病灶 ml",
    share_of_zone="占该区 %",
    score="评分",
    thirds={"upper": "上区", "middle": "中区", "lower": "下区"},
    number="序号",
    side="侧别",
    lesion_class="类型",
    consolidation="实变 %",
    axes="长 × 短 mm",
    examined="检查",
    images="图像数",
    slice_spacing="层间距",
    pixel_spacing="像素大小",
    made_by="分析",
    lesions_by="病灶",
    lungs_by="肺",
    model_digest="模型 SHA-256",
    node="节点",
    computed="计算时间",
    burden_before="{date} 病灶体积 {volume} ml，占双肺 {percent} %（此后 {points} 个百分点）：{course}",
    burden_before_undated="前次检查病灶体积 {volume} ml，占双肺 {percent} %"
    "（此后 {points} 个百分点）：{course}",
    difference="判断",
    directions={
        Direction.INCREASE: "增加",
        Direction.DECREASE: "减少",
        Direction.NO_SIGNIFICANT_CHANGE: "无显著变化",
        "undetermined": "无法判定",
    },
    number_before="前次序号",
    fate="变化",
    page="第 {page} 页，共 {pages} 页",
)

DOCUMENT_WORDS: Mapping[Language, DocumentWords] = {
    Language.ENGLISH: _ENGLISH,
    Language.CHINESE: _CHINESE,
}
