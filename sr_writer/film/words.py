"""Every word on the film, in each language. A further language is one more entry in `WORDS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.domain import Finding, Language, LesionClass, Side


@dataclass(frozen=True, slots=True)
class Words:
    """What the film says in one language; braces are filled in.

    Parameters
    ----------
    title, study, series, update, image
        Head of the page, and the caption of a slice.
    nothing_found, no_lungs
        Across the slices.
    overview, overview_note
        Above and below the lungs from the front.
    lungs, both_lungs
        Rows of the table.
    findings, classes
        Findings, and classes of single lesions.
    lungs_ml, lesions_ml, share, attenuation
        Heads of the table's columns, beside the findings.
    listed, none_listed
        Above the single lesions.
    severity, severity_note
        Beside the bar.
    research_only, made_by, remarks
        Head and foot of the page.
    not_analysed, because, no_statement
        On the page of a series that could not be analysed.
    """

    title: str
    study: str
    series: str
    update: str
    image: str
    nothing_found: str
    no_lungs: str
    overview: str
    overview_note: str
    lungs: Mapping[Side, str]
    both_lungs: str
    findings: Mapping[Finding, str]
    classes: Mapping[LesionClass, str]
    lungs_ml: str
    lesions_ml: str
    share: str
    attenuation: str
    listed: str
    none_listed: str
    severity: str
    severity_note: str
    research_only: str
    made_by: str
    remarks: str
    not_analysed: str
    because: str
    no_statement: str


_ENGLISH = Words(
    title="Chest CT: lesions of the lungs",
    study="Examination of {date}",
    series="series {number}",
    update="update {number}, with images that came later",
    image="image {number}",
    nothing_found="No lesion was found. Slices at even distances are shown.",
    no_lungs="No lungs were found.",
    overview="Overview from the front",
    overview_note="Zones are thirds of each lung's height: score 0-4, percent of the zone that is lesion",
    lungs={Side.RIGHT: "Right lung", Side.LEFT: "Left lung"},
    both_lungs="Both lungs",
    findings={Finding.GROUND_GLASS: "Ground glass", Finding.CONSOLIDATION: "Consolidation"},
    classes={
        LesionClass.GROUND_GLASS: "ground glass",
        LesionClass.CONSOLIDATION: "consolidation",
        LesionClass.MIXED: "mixed",
    },
    lungs_ml="Lung",
    lesions_ml="All lesions",
    share="Percent of lung",
    attenuation="Mean of lesions",
    listed="Single lesions of {smallest} ml and more: {count}",
    none_listed="No single lesion of {smallest} ml or more",
    severity="CT severity score {score} of 24",
    severity_note="six zones, 0-4 each: 0 none, 1 below 25 %, 2 from 25 %, 3 from 50 %, 4 from 75 %",
    research_only="RESEARCH USE ONLY - not for diagnosis",
    made_by="{node} {version}, model {model} {model_version}",
    remarks="Remarks",
    not_analysed="Chest CT: NOT ANALYSED",
    because="Reason, and what would help:",
    no_statement="Nothing was measured. This page does not say whether there are lesions.",
)

_CHINESE = Words(
    title="胸部CT：肺部病灶定量分析",
    study="检查日期 {date}",
    series="序列 {number}",
    update="第 {number} 次结果，包含后到图像",
    image="图像 {number}",
    nothing_found="未检出病灶，等间距显示图像。",
    no_lungs="未检出肺。",
    overview="正位概览",
    overview_note="每侧肺按高度分为上、中、下三区：评分 0–4，病灶占该区的百分比",
    lungs={Side.RIGHT: "右肺", Side.LEFT: "左肺"},
    both_lungs="双肺",
    findings={Finding.GROUND_GLASS: "磨玻璃影", Finding.CONSOLIDATION: "实变"},
    classes={
        LesionClass.GROUND_GLASS: "磨玻璃影",
        LesionClass.CONSOLIDATION: "实变",
        LesionClass.MIXED: "混合",
    },
    lungs_ml="肺体积",
    lesions_ml="全部病灶",
    share="占肺百分比",
    attenuation="病灶平均CT值",
    listed="{smallest} ml 及以上的单个病灶：{count} 个",
    none_listed="无 {smallest} ml 及以上的单个病灶",
    severity="CT严重程度评分 {score} / 24",
    severity_note="六区，每区 0–4 分：0 无，1 低于25%，2 达25%，3 达50%，4 达75%",
    research_only="仅供科研使用，不用于临床诊断",
    made_by="{node} {version}，模型 {model} {model_version}",
    remarks="提示",
    not_analysed="胸部CT：未分析",
    because="原因及处理建议：",
    no_statement="未进行任何测量。本页不说明是否存在病灶。",
)

WORDS: Mapping[Language, Words] = {Language.ENGLISH: _ENGLISH, Language.CHINESE: _CHINESE}
