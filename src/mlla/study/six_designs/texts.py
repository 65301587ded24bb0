"""Words of the page and of the answer, English and Chinese."""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

from __future__ import annotations

from mlla.study.report.labels import LABELS

TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Six designs of Mamba on {data}", "Mamba 的六项设计：{data}"),
    "question": (
        "Does each design of Mamba do to linear attention here what the paper says it does? "
        "Rows of Tables 1 and 2 of arXiv 2405.16605, size {size}, {image_size} px, {seeds} seeds, "
        "{epochs} epochs.",
        "在此数据上，Mamba 的每项设计对线性注意力的影响是否与论文一致？"
        "arXiv 2405.16605 表 1、表 2 各行，规模 {size}，{image_size} 像素，{seeds} 个种子，"
        "{epochs} 个轮次。",
    ),
    "summary": (
        "Published effects: {count}; supported here: {supported}, contrary: {contrary}, undecided: "
        "{undecided}.",
        "在论文的 {count} 项结果中，{supported} 项在此得到支持，{contrary} 项相反，"
        "{undecided} 项未定。",
    ),
    "identical": (
        "{row} answers exactly as {against} does, in every run.",
        "{row} 与 {against} 在每次训练中的回答完全相同。",
    ),
    "too_few": (
        "{needed} seeds are needed before any sign can be decided; this study has {seeds}.",
        "至少需要 {needed} 个种子才能判定符号；本研究只有 {seeds} 个。",
    ),
    "missing": ("{row}, seed {seed}: {why}", "{row}，种子 {seed}：{why}"),
    "unfinished": ("not finished", "未完成"),
    "effects": ("Published effects, and ours", "论文结果与本研究"),
    "effects_caption": (
        "Differences of top-1 accuracy on {scored} ({images} images) in points of percent, with "
        "95 % intervals over images and seeds; hollow: as published for ImageNet-1K. A sign is "
        "decided where the interval leaves out 0 and the permutation test, corrected by Holm for "
        "the comparisons of a table, rejects at 5 %.",
        "{scored}（{images} 张图像）上 top-1 准确率之差（百分点）及其 95% 区间（同时计入图像与种子"
        "的不确定性）；空心为论文在 ImageNet-1K 上的结果。区间不含 0，且经 Holm 校正（按表）的"
        "置换检验在 5% 水平上拒绝时，才判定符号。",
    ),
    "table_1": (
        "Table 1: one design of Mamba at a time, beside the baseline",
        "表 1：逐项加入 Mamba 的设计，与基线比较",
    ),
    "table_2": (
        "Table 2: position encodings in place of the forget gate, beside the forget gate",
        "表 2：以位置编码代替遗忘门，与遗忘门比较",
    ),
    "cost_table": ("What each row costs", "各行的代价"),
    "cost_caption": (
        "Parameters and FLOPs of our models at the size of the paper (224 px, 1,000 classes) "
        "beside the printed ones, then those of the networks trained here. Throughput in parts of "
        "the baseline's: published, and measured here in turns, batches of 16, with 95 % "
        "intervals.",
        "按论文规模（224 像素、1000 类）构建的模型的参数量与 FLOPs（对照论文数值），"
        "以及此处训练的网络。吞吐量以基线为 1：论文数值，与此处轮流测得（批大小 16）的数值"
        "及 95% 区间。",
    ),
    "row": ("row", "行"),
    "runs": ("runs", "训练次数"),
    "top1_published": ("top-1, published", "top-1，论文"),
    "top1": ("top-1, here", "top-1，本研究"),
    "effect_published": ("effect, published", "差异，论文"),
    "effect": ("effect, here", "差异，本研究"),
    "interval": ("95 % interval", "95% 区间"),
    "p_corrected": ("p, corrected", "p（校正后）"),
    "smallest": ("smallest effect seen", "可发现的最小差异"),
    "sign": ("sign", "符号"),
    "supported": ("supported", "支持"),
    "contrary": ("contrary", "相反"),
    "undecided": ("undecided", "未定"),
    "parameters_published": ("parameters (M), published", "参数量 (M)，论文"),
    "parameters_tiny": ("ours at that size", "同规模，本项目"),
    "parameters": ("trained here", "此处训练"),
    "flops_published": ("FLOPs (G), published", "FLOPs (G)，论文"),
    "throughput_published": ("throughput, published", "吞吐量，论文"),
    "throughput": ("throughput, here", "吞吐量，本研究"),
    "figure_4b": ("Figure 4b: average forget gate of each block", "图 4b：各模块遗忘门的平均值"),
    "figure_4b_caption": (
        "1 keeps everything that came before a token, 0 nothing; mean over seeds, with the band "
        "from the lowest to the highest. The paper shows about 0.2 in shallow layers and 0.6 to "
        "0.8 in deep ones.",
        "1 表示保留先前的全部信息，0 表示不保留；曲线为各种子的均值，色带为最低至最高。"
        "论文中浅层约为 0.2，深层为 0.6 至 0.8。",
    ),
    "figure_5": (
        "Figure 5: how much the lengths of tokens differ",
        "图 5：token 长度的差异",
    ),
    "figure_5_caption": (
        "Standard deviation of the Euclidean norms of the tokens of an image after each block, "
        "mean over {images} images; with and without normalisation. It is 0 where the grid of a "
        "block is a single token.",
        "每个模块之后，一张图像中各 token 的欧氏范数的标准差（{images} 张图像的均值），"
        "有归一化与无归一化。网格只有一个 token 的模块，其值为 0。",
    ),
    "no_figure": ("No finished run of {row} yet.", "{row} 尚无完成的训练。"),
    "block": ("block", "模块"),
    "gate_axis": ("average forget gate", "遗忘门平均值"),
    "length_axis": ("standard deviation of token lengths", "token 长度的标准差"),
    "axis": ("difference of top-1 accuracy (points)", "top-1 准确率之差（百分点）"),
    "published": ("published", "论文"),
    "here": ("here", "本研究"),
    "guards": ("Can this be trusted? The guards", "结论可信吗？检查项"),
    "record": ("How it was made", "实验记录"),
    "reading": (
        "Published figures are of ImageNet-1K at 224 px; a sign that holds or fails at another "
        "scale says nothing certain about that one.",
        "论文数值来自 224 像素的 ImageNet-1K；"
        "在其他规模上成立或不成立的符号，并不能确定地说明该规模。",
    ),
    "extended": (
        "Seeds were added after results had been seen, from {from} to {to}: p-values are then too "
        "small.",
        "看到结果之后种子数由 {from} 增至 {to}，因此 p 值偏小。",
    ),
}
_SHARED = (
    "passed", "warning", "failed", "not checked", "seed_changes_result", "seed_reproduces_result",
    "checkpoint_not_chosen_on_scored_images", "near_duplicates_across_splits", "enough_seeds",
    "same_data_order", "one_version", "fixed_optimizer", "image_lists_fixed",
)  # fmt: skip
LANGUAGES = ("en", "zh")


def texts_in(language: str) -> dict[str, str]:
    """Return all texts by key.

    Args:
        language: "en" or "zh".

    Raises:
        ValueError: If there is no such language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language={language!r} is unknown; choose from {', '.join(LANGUAGES)}")
    place = LANGUAGES.index(language)
    shared = {key: LABELS[key] for key in _SHARED}
    return {key: pair[place] for key, pair in {**shared, **TEXTS}.items()}
