"""Sentences of a report, English and Chinese."""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

from __future__ import annotations

PROSE: dict[str, tuple[str, str]] = {
    "question_one": (
        "Does {arms} detect better than {baseline} on {data}: {classes} classes, scored on the "
        "{images} images of its {scored} split?",
        "在 {data}（{classes} 个类别，用 {scored} 划分的 {images} 张图像评测）上，{arms} 的检测效"
        "果是否优于 {baseline}？",
    ),
    "question_several": (
        "Does any of {arms} detect better than {baseline} on {data}: {classes} classes, scored "
        "on the {images} images of its {scored} split?",
        "在 {data}（{classes} 个类别，用 {scored} 划分的 {images} 张图像评测）上，{arms} 之中是否"
        "有优于 {baseline} 的？",
    ),
    "points_meaning": (
        "AP is the average precision of COCO, averaged over IoU 0.50 to 0.95 and over classes, "
        "in points from 0 to 100. A gain below {margin} points counts as none that matters.",
        "AP 为 COCO 的平均精度，对 IoU 0.50 至 0.95 及所有类别取平均，以百分点（0 至 100）表示。"
        "低于 {margin} 个百分点的提升不算有意义的提升。",
    ),
    "guards_bad": (
        "{count} of {all} guards did not pass. Read them before the numbers.",
        "{all} 项检查中有 {count} 项未通过。请先看检查项，再看数字。",
    ),
    "guards_none": (
        "No guard was recorded: nothing is known about seeds, leaks or the choice of checkpoint.",
        "没有记录任何检查项：种子、数据泄漏和权重挑选的情况均不清楚。",
    ),
    "guards_good": ("All {all} guards passed.", "{all} 项检查全部通过。"),
    "unjudged": (
        "{arm} has no finished run with a seed that {baseline} has finished too.",
        "{arm} 与 {baseline} 没有在同一种子下都完成的训练。",
    ),
    "unfinished": (
        "{finished} of {planned} runs are finished and {failed} failed; the figures will change "
        "as the others follow.",
        "已完成 {finished} / {planned} 次训练，{failed} 次失败；其余完成后数字还会变化。",
    ),
    "some_failed": ("{failed} of {planned} runs failed.", "{planned} 次训练中有 {failed} 次失败。"),
    "failed_runs": ("{arm}, seed {seeds}: {error}", "{arm}，种子 {seeds}：{error}"),
    "failed_rule": (
        "Failed runs count for nothing. Every difference rests on the seeds that both of its "
        "arms have finished; the mean of an arm is over its own finished runs.",
        "失败的训练不计入。每个差异只用两个方案都已完成的种子；每个方案的均值取自该方案已完成的训"
        "练。",
    ),
    "runs_equal": ("{runs} per arm", "每个方案 {runs}"),
    "runs_between": ("{low} to {high} seeds per arm", "每个方案 {low} 至 {high} 个种子"),
    "sample": ("n = {runs}, {images} scored images.", "n：{runs}，{images} 张评测图像。"),
    "forest_caption": (
        "Dot: difference of mean AP, arm minus the other. Line: its 95 % interval over images "
        "and seeds, with an arrow where it goes on. Grey: smaller than {margin} points. Hollow "
        "dots: controls. p: exact permutation test, corrected after Holm for the arms that claim "
        "to be better.",
        "点：平均 AP 之差（该方案减去对照）。横线：兼顾图像与种子的 95% 置信区间，箭头表示超出坐"
        "标范围。灰色区域：小于 {margin} 个百分点。空心点：对照组。p：精确置换检验，对所有声称更"
        "好的方案做 Holm 校正。",
    ),
    "forest_no_interval": ("With one seed there is no interval.", "只有一个种子时没有置信区间。"),
    "dots_caption": (
        "Dot: AP of one run. Upright line: mean of the arm. ±: standard deviation over its runs.",
        "点：一次训练的 AP。竖线：该方案的均值。±：各次训练之间的标准差。",
    ),
    "latency_caption": (
        "Dot: mean AP over seeds and median time per image. Upright line: AP ± standard "
        "deviation over seeds. Level line: from the first to the third quartile of the time. All "
        "arms were measured in turn, round by round, so that a busy machine slows all of them "
        "alike.",
        "点：各种子的平均 AP 与每张图像耗时的中位数。竖线：AP ± 种子间标准差。横线：耗时的第一至"
        "第三四分位数。各方案轮流测量，因此机器繁忙时对各方案的影响相同。",
    ),
    "no_latency": ("The time per image was not measured.", "未测量每张图像的耗时。"),
    "no_latency_in": (
        "{runtime}: nothing to draw, since no arm has a time.",
        "{runtime}：没有任何一个方案测得耗时，无法作图。",
    ),
    "latency_error": ("{arm} in {runtime}: {error}", "{arm}（{runtime}）：{error}"),
    "curves_caption": (
        "Line: mean over the seeds. Band: from the lowest to the highest seed. Dark: the "
        "baseline {baseline}; in colour: the arm named above. AP here is that of Ultralytics on "
        "the validation images, logged while training; verdicts never use it.",
        "线：各种子的均值。色带：最低到最高的种子。深色：基线 {baseline}；彩色：上方所列的方案。"
        "此处 AP 为训练中 Ultralytics 在验证集上的记录，结论从不使用它。",
    ),
    "no_curves": ("No curves were recorded.", "没有训练曲线记录。"),
    "accuracy_caption": (
        "In points, mean ± standard deviation over the finished runs; s, m, l: objects below "
        "32², below 96², and larger, in pixels of the file. {missing}: nothing to measure. "
        "Calibration error: mean distance between score and share of hits, in points; less is "
        "better.",
        "单位为百分点，为已完成训练的均值 ± 标准差；s、m、l：面积小于 32²、小于 96² 和更大的目标"
        "（按图像文件的像素）。{missing}：无可测量。校准误差：得分与命中率的平均差距（百分点），"
        "越小越好。",
    ),
    "cost_caption": (
        "At {imgsz} pixels. Training time: mean over the runs; memory: the largest of them, "
        "{memory}. Tensors at the start that equal those of the baseline of the same seed, and "
        "pretrained tensors kept.",
        "输入 {imgsz} 像素。训练时间为各次训练的均值，内存取最大值（{memory}）。后两列：初始时与"
        "同一种子的基线相同的张量数，以及保留的预训练张量数。",
    ),
    "times_caption": (
        "Time per image at {imgsz} pixels and a batch of 1: median, first to third quartile; and "
        "the median ratio to the baseline in the same round, with its 95 % interval.",
        "输入 {imgsz} 像素、批大小 1 时每张图像的耗时：中位数、第一至第三四分位数；以及与同一轮中"
        "基线之比的中位数及其 95% 区间。",
    ),
    "gflops_disagree": (
        "{arm}: the two counters of GFLOPs disagree, so one of them misses an operation.",
        "{arm}：两种 GFLOPs 计数不一致，其中之一漏计了某个算子。",
    ),
    "not_measured": (
        "{arm}: parts of the cost were not measured: {error}",
        "{arm}：部分开销未能测量：{error}",
    ),
    "measured_on": (
        "{runtime} {version} on {device}, {threads} threads, {rounds} rounds.",
        "{runtime} {version}，{device}，{threads} 线程，{rounds} 轮。",
    ),
    "equivalence_rule": (
        "An arm is no worse if the 95 % lower bound of its difference is above −{margin} points, "
        "and {percent} % faster if the interval of its ratio in {runtime} ends at {share} or "
        "below.",
        "若差异的 95% 单侧下界高于 −{margin} 个百分点，则视为不更差；若在 {runtime} 中耗时之比的"
        "区间上限不超过 {share}，则视为快 {percent}%。",
    ),
    "classes_caption": (
        "AP in points, mean over the runs; in brackets the difference to the baseline over the "
        "seeds that both have finished. No test is made here: of many classes some differ by "
        "chance.",
        "AP（百分点），为各次训练的均值；括号内为在两者都完成的种子上与基线之差。此处不做检验：类"
        "别一多，总有一些因偶然而不同。",
    ),
    "errors_caption": (
        "AP at IoU 0.5 in points that would be gained if errors of this type were gone (TIDE), "
        "mean over the runs; in brackets the difference to the baseline over the seeds that both "
        "have finished. Less is better.",
        "若消除该类错误，IoU 0.5 处的 AP 可提高的百分点（TIDE），为各次训练的均值；括号内为在两者"
        "都完成的种子上与基线之差；越小越好。",
    ),
    "pictures_caption": (
        "Chosen because the arms differ most here, so they are no sample of the others. "
        "Detections of a score of 0.25 or more; a match has the class of the label and an IoU of "
        "0.5 or more.",
        "这些图像因分歧最大而被选出，不代表其余图像。只画得分不低于 0.25 的检测；匹配指类别一致且"
        " IoU 不低于 0.5。",
    ),
    "no_pictures": (
        "There is no image on which an arm and the baseline find a different number of objects.",
        "没有任何图像上该方案与基线找到的目标数不同。",
    ),
    "power_caption": (
        "Smallest effect: the true gain that a study like this calls supported four times out of "
        "five; {missing}: none, however large, with so few seeds. The last columns say about how "
        "many seeds, or else how many images, would decide what is still open: orders of "
        "magnitude, not promises.",
        "最小可发现差异：这样规模的研究有五分之四的把握判为“得到支持”的真实提升；{missing}：种子"
        "太少，再大的提升也无法证实。后两列：尚无定论时，大约需要多少种子，或多少图像才能下结论；"
        "只是数量级，并非承诺。",
    ),
    "checkpoint_best_test": (
        "best.pt: the validation images chose the epoch, and other images, the test split, are "
        "scored.",
        "best.pt：由验证集挑选轮次，用另外的图像（test 划分）评测。",
    ),
    "checkpoint_last": (
        "last.pt: the last epoch, which no image chose.",
        "last.pt：最后一轮，没有任何图像参与挑选。",
    ),
    "checkpoint_best_val": (
        "best.pt, scored on the images that chose it: every figure is too high.",
        "best.pt，却用挑选它的同一批图像评测：所有数字都偏高。",
    ),
    "made_split": (
        "The test split was made of {percent} % of {source}, keeping together: {groups}.",
        "test 划分取自 {source} 的 {percent}%，以下图像不拆开：{groups}。",
    ),
    "leaks": (
        "Across splits: {identical} identical and {near} nearly identical pairs of images; "
        "{touched} scored images are touched.",
        "跨划分：{identical} 对相同图像，{near} 对近似重复图像，涉及 {touched} 张评测图像。",
    ),
    "latex_needs": (
        "needs: \\usepackage{booktabs,graphicx}",
        "需要：\\usepackage{booktabs,graphicx,ctex}，用 xelatex 编译",
    ),
    "latex_caption": (
        "AP in points, mean ± standard deviation over {seeds} seeds, scored on {images} images. "
        "Difference to {baseline} with its 95 % interval over images and seeds; p: exact "
        "permutation test, corrected after Holm.",
        "AP（百分点）：{seeds} 个种子的均值 ± 标准差，在 {images} 张图像上评测。差异为与"
        " {baseline} 之差及其兼顾图像与种子的 95% 置信区间；p：精确置换检验，经 Holm 校正。",
    ),
    "leak_examples": ("Such as {pairs}.", "例如 {pairs}。"),
    "statistics_1": (
        "Each run is scored by an outside evaluator (hotcoco) on saved predictions, in the "
        "protocol of COCO [1]; error types are those of TIDE [2].",
        "每次训练由外部评测器（hotcoco）按 COCO 协议对保存的预测结果评分 [1]；错误类型按 TIDE 划"
        "分 [2]。",
    ),
    "statistics_2": (
        "The interval of a difference adds up two spreads: that over resampled images, the same "
        "for both arms, and that over the seeds of each arm; what images and seeds do together "
        "is counted once [3].",
        "差异的置信区间合并两种波动：对图像重采样的波动（两个方案用同一批图像），以及各方案种子之"
        "间的波动；图像与种子的共同作用只计一次 [3]。",
    ),
    "statistics_3": (
        "It is Student's interval with Satterthwaite's degrees of freedom, from the numbers of "
        "seeds and of images [4], since percentiles of a bootstrap over a few would be far too "
        "narrow.",
        "区间采用学生 t 分布，Satterthwaite 自由度由种子数和图像数得出 [4]，因为数量很少时自助法的"
        "百分位数会过窄。",
    ),
    "statistics_4": (
        "The p-value is that of the exact permutation test over runs [5], corrected after Holm "
        "for several arms [6]; with three runs an arm it cannot fall below 0.1, so a verdict "
        "takes four seeds, and five where two to six arms are judged.",
        "p 值来自对各次训练的精确置换检验 [5]，多个方案时按 Holm 校正 [6]；每个方案三次训练时 p "
        "不可能低于 0.1，因此下结论至少需要四个种子，同时判断二至六个方案时需要五个。",
    ),
    "statistics_5": (
        "An arm is supported, or worse, if test and interval agree; not supported if the "
        "interval leaves no room for a gain that matters [7]; and anything else is too little "
        "data.",
        "检验与区间一致时，结论为“得到支持”或“变差”；区间排除了有意义的提升时，为“未得到支持” [7]"
        "；其余一律为“数据不足”。",
    ),
}

SOURCES = (
    "Lin et al., Microsoft COCO: common objects in context, ECCV 2014, arXiv 1405.0312",
    "Bolya et al., TIDE: a general toolbox for identifying object detection errors, ECCV 2020, "
    "arXiv 2008.08115",
    "Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007), arXiv 0712.1111",
    "Satterthwaite, An approximate distribution of estimates of variance components, Biometrics "
    "Bulletin 2 (1946); Welch, The generalization of Student's problem, Biometrika 34 (1947)",
    "Ernst, Permutation methods: a basis for exact inference, Statistical Science 19 (2004)",
    "Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of "
    "Statistics 6 (1979)",
    "Schuirmann, A comparison of the two one-sided tests procedure and the power approach, Journal "
    "of Pharmacokinetics and Biopharmaceutics 15 (1987)",
)
