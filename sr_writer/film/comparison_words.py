"""Every word of the comparison on the film, in each language; `words` has those of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.comparison import Course, Fate
from core.domain import Finding, Language
from sr_writer.film.change_map import Became


@dataclass(frozen=True, slots=True)
class ComparisonWords:
    """What the comparison says in one language; braces are filled in.

    Parameters
    ----------
    since, since_undated
        The line on the upper half of the film.
    headline, headline_undated, courses
        Head of the comparison.
    days, one_day, within_a_day
        How long ago.
    now, then
        The two scans, on pictures and above columns.
    matched, apart
        How places were brought together, or that they were not.
    change_view, lesions_view
        Above the pictures from the front.
    became
        Legend of the change map.
    lung
        Legend of the outlines.
    rows, change, percent, limit, unknown_limit
        Table.
    changes, fates, not_matched, no_lesion
        Single lesions.
    trend, trend_findings, peak, other_model, no_date
        The plot.
    cautions
        Foot.
    """

    since: str
    since_undated: str
    headline: str
    headline_undated: str
    courses: Mapping[Course, str]
    days: str
    one_day: str
    within_a_day: str
    now: str
    then: str
    matched: str
    apart: str
    change_view: str
    lesions_view: str
    became: Mapping[Became, str]
    lung: str
    rows: Mapping[Finding | str, str]
    change: str
    percent: str
    limit: str
    unknown_limit: str
    changes: str
    fates: Mapping[Fate, str]
    not_matched: str
    no_lesion: str
    trend: str
    trend_findings: Mapping[Finding | None, str]
    peak: str
    other_model: str
    no_date: str
    cautions: str


_ENGLISH = ComparisonWords(
    since="Since {date}: {course}, lesions {prior} → {current} % of lung",
    since_undated="Since the earlier scan: {course}, lesions {prior} → {current} % of lung",
    headline="{course} since {date}",
    headline_undated="{course} since the earlier scan",
    courses={
        Course.PROGRESSION: "progression",
        Course.REGRESSION: "regression",
        Course.STABLE: "stable",
        Course.MIXED: "mixed change",
        Course.UNDETERMINED: "change undetermined",
    },
    days="{count} days",
    one_day="1 day",
    within_a_day="less than a day",
    now="current",
    then="prior",
    matched="Same places: the prior scan was brought onto the current one (overlap of the lungs {overlap} %)",
    apart="Places are not compared; slices at equal relative height of the lungs. {reason}",
    change_view="Change, from the front",
    lesions_view="Lesions, from the front",
    became={
        Became.NEW: "new",
        Became.RESOLVED: "resolved",
        Became.REMAINED: "in both scans",
        Became.CONSOLIDATED: "ground glass, now consolidation",
    },
    lung="Lung",
    rows={
        "lesions": "All lesions",
        Finding.GROUND_GLASS: "Ground glass",
        Finding.CONSOLIDATION: "Consolidation",
        "share": "Percent of lung",
        "lungs": "Both lungs",
    },
    change="change",
    percent="in percent",
    limit="no change up to",
    unknown_limit="not known",
    changes="Single lesions, largest changes of {count}",
    fates={
        Fate.PERSISTENT: "unchanged",
        Fate.GROWN: "grown",
        Fate.SHRUNK: "shrunk",
        Fate.NEW: "new",
        Fate.RESOLVED: "resolved",
        Fate.MERGED: "merged",
        Fate.SPLIT: "split",
    },
    not_matched="Single lesions are not matched.",
    no_lesion="No single lesion in either scan",
    trend="Percent of lung, {count} scans",
    trend_findings={
        None: "all lesions",
        Finding.GROUND_GLASS: "ground glass",
        Finding.CONSOLIDATION: "consolidation",
    },
    peak="peak",
    other_model="other model",
    no_date="no date",
    cautions="Caution",
)

_CHINESE = ComparisonWords(
    since="自 {date} 以来：{course}，病灶占肺 {prior} → {current} %",
    since_undated="与前次检查相比：{course}，病灶占肺 {prior} → {current} %",
    headline="自 {date} 以来：{course}",
    headline_undated="与前次检查相比：{course}",
    courses={
        Course.PROGRESSION: "进展",
        Course.REGRESSION: "吸收好转",
        Course.STABLE: "稳定",
        Course.MIXED: "变化不一",
        Course.UNDETERMINED: "变化无法判定",
    },
    days="间隔 {count} 天",
    one_day="间隔 1 天",
    within_a_day="间隔不足 1 天",
    now="本次",
    then="前次",
    matched="同一位置：前次图像已配准到本次图像（肺重叠度 {overlap} %）",
    apart="未进行位置比较；图像按肺的相对高度选取。{reason}",
    change_view="变化，正位",
    lesions_view="病灶，正位",
    became={
        Became.NEW: "新出现",
        Became.RESOLVED: "已吸收",
        Became.REMAINED: "两次均有",
        Became.CONSOLIDATED: "磨玻璃影转为实变",
    },
    lung="肺",
    rows={
        "lesions": "全部病灶",
        Finding.GROUND_GLASS: "磨玻璃影",
        Finding.CONSOLIDATION: "实变",
        "share": "占肺百分比",
        "lungs": "双肺",
    },
    change="变化",
    percent="变化百分比",
    limit="无变化范围",
    unknown_limit="未知",
    changes="单个病灶共 {count} 个，列出变化最大者",
    fates={
        Fate.PERSISTENT: "无变化",
        Fate.GROWN: "增大",
        Fate.SHRUNK: "缩小",
        Fate.NEW: "新出现",
        Fate.RESOLVED: "已吸收",
        Fate.MERGED: "融合",
        Fate.SPLIT: "分裂",
    },
    not_matched="单个病灶未作对应。",
    no_lesion="两次检查均无单个病灶",
    trend="占肺百分比，共 {count} 次检查",
    trend_findings={
        None: "全部病灶",
        Finding.GROUND_GLASS: "磨玻璃影",
        Finding.CONSOLIDATION: "实变",
    },
    peak="峰值",
    other_model="其他模型",
    no_date="无日期",
    cautions="注意",
)

COMPARISON_WORDS: Mapping[Language, ComparisonWords] = {
    Language.ENGLISH: _ENGLISH,
    Language.CHINESE: _CHINESE,
}
