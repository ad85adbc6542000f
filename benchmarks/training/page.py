"""The page of a comparison."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from saved import Result

HEAD = """# Training speed and memory beside TRL

Made by `{command}` on {machine}, threads: {threads}; commit {commit}; {date};
{versions}.

DPO on PKU-SafeRLHF pairs, {per_step} a step, each of at most {longest} tokens: same token ids, model, initial weights, order of pairs,
learning rate and precomputed reference log-probs, no activation checkpointing. LoRA has r = 16 on all linear layers. Start-up is not
counted; peak memory is {memory}. TRL takes the whole step at once where that fits.

![Training speed and memory]({figure})

## In short
{summary}
## Every contestant

`share of peak` is useful operations per {clock}, divided by the fastest matrix product measured here in the same precision.
Useful is what the engine's layout needs, for every contestant alike: 2 N operations a place for a linear layer of N weights forward,
as many for the gradient in its input and, where the weight is trained, for that in the weight; the head at places that predict a
response; 4 x heads x width for each place that another sees, thrice with the backward pass. Padding, prompts computed twice and logits
that nobody asks for are of no use. `largest difference` is that of the losses of all steps to ours. `at once` is what is computed in
one forward and backward pass. In bfloat16 the reference log-probs carry the rounding of the engine's path, so TRL, which rounds in other
places, does not begin at log 2.
"""
CASE = """
### {case}

{what}, {pairs} pairs, {steps} steps, learning rate {rate:g}. Fastest matrix product: {peak:.0f} GFLOP per {clock}.

"""
STAGES = """
## What each trick gives

Forward and backward pass of {pairs} pairs, LoRA, {steps} steps of {per_step} pairs, without an optimiser. Each line has one trick
more than the line above; the last is the engine's step. `gradient` is the relative difference of the first step's gradient to that of
the plain way.
"""
SPARED = """
Full fine-tuning is compared in float32 alone: in bfloat16, TRL trains weights that are bfloat16 themselves, the engine float32 ones.
"""


def write_page(path: Path, results: list[Result], stages: list[Result], command: str) -> None:
    """Write the page.

    Args:
        path: where to.
        results: of the cases, contestants of one case together and ours first.
        stages: of the ways to compute a step, from the plain one on.
        command: what made them.
    """
    ours = results[0]
    on_gpu = ours["device"] == "cuda"
    clock = "second" if on_gpu else "CPU second"
    text = HEAD.format(
        command=command,
        machine=ours["device_name"] if on_gpu else ours["cpu"],
        threads=ours["threads"],
        commit=" and ".join(_distinct(row["commit"] or "unknown" for row in [*results, *stages])),
        date=" and ".join(_distinct(row["date"] for row in [*results, *stages])),
        versions=_versions(results),
        per_step=ours["pairs_per_step"],
        longest=ours["longest"],
        memory="what torch allocated on the GPU" if on_gpu else "that of the whole process",
        figure=f"../figures/{path.stem}.svg",
        clock=clock,
        summary=_summary(results, clock),
    )
    for case in _distinct(row["case"] for row in results):
        text += _case([row for row in results if row["case"] == case], clock)
    text += SPARED
    if stages:
        first = stages[0]
        text += STAGES.format(
            pairs=first["steps"] * first["pairs_per_step"],
            steps=first["steps"],
            per_step=first["pairs_per_step"],
        )
    for dtype in _distinct(row["dtype"] for row in stages):
        text += f"\n### {dtype}\n\n" + _stages([row for row in stages if row["dtype"] == dtype], clock)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def cost(row: Result) -> float:
    """Return the seconds that a pair takes: of the processors on a CPU, of the wall on a GPU."""
    seconds: float = row["seconds" if row["device"] == "cuda" else "cpu_seconds"]
    return seconds / (row["steps"] * row["pairs_per_step"])


def memory(row: Result) -> float:
    """Return the peak, GB."""
    peak: float = row["peak_memory_bytes"]
    return peak / 1e9


def _summary(results: list[Result], clock: str) -> str:
    """Return ours against the faster TRL of each case."""
    header = ["case", "faster TRL", f"pairs per {clock}, ours against it", "peak memory, ours against it"]
    lines = []
    for case in _distinct(row["case"] for row in results):
        ours, *others = [row for row in results if row["case"] == case]
        finished = [row for row in others if "seconds" in row and "defaults" not in row["contestant"]]
        if "seconds" in ours and finished:
            best = min(finished, key=cost)
            faster, smaller = cost(best) / cost(ours), memory(ours) / memory(best)
            lines.append([case, best["contestant"], f"{faster:.2f}x", f"{smaller:.2f}x"])
    return "\n" + _table(header, lines) if lines else "\nNo TRL was measured.\n"


def _case(rows: list[Result], clock: str) -> str:
    ours = rows[0]
    what = "full fine-tuning" if ours["full"] else "LoRA"
    what += f", base weights in {ours['dtype']}" + (
        ", 151,936 tokens (its own, about three times)" if ours["large_vocabulary"] else ""
    )
    text = CASE.format(
        case=ours["case"],
        what=what[0].upper() + what[1:],
        pairs=ours["steps"] * ours["pairs_per_step"],
        steps=ours["steps"],
        rate=ours["learning_rate"],
        peak=ours["peak_flops"] / 1e9,
        clock=clock,
    )
    short = "s" if ours["device"] == "cuda" else "CPU s"
    header = [
        "",
        f"{short} a pair",
        "ours = 1",
        "pairs a s",
        "peak memory (GB)",
        "ours = 1",
        "share of peak",
        "step",
    ]
    header += ["loss, first and last", "largest difference"]
    notes = [f"{row['contestant']} did not fit: {failed}." for row in rows for failed in row["did_not_fit"]]
    return (
        text + _table(header, [_line(row, ours) for row in rows]) + "".join(f"\n{note}\n" for note in notes)
    )


def _line(row: Result, ours: Result) -> list[str]:
    if "seconds" not in row or "seconds" not in ours:
        return [row["contestant"], *["did not fit" if "seconds" not in row else ""] * 9]
    pairs = row["steps"] * row["pairs_per_step"]
    difference = max(abs(a - b) for a, b in zip(row["losses"], ours["losses"], strict=True))
    return [
        row["contestant"],
        f"{cost(row):.2f}" if cost(row) >= 0.1 else f"{cost(row):.4f}",
        f"{cost(row) / cost(ours):.2f}",
        f"{pairs / row['seconds']:.2f}",
        f"{memory(row):.2f}",
        f"{memory(row) / memory(ours):.2f}",
        f"{ours['needed_flops'] / pairs / cost(row) / row['peak_flops']:.0%}",
        row["at_once"],
        f"{row['losses'][0]:.4f}, {row['losses'][-1]:.4f}",
        f"{difference:.1e}",
    ]


def _stages(rows: list[Result], clock: str) -> str:
    short = "s" if clock == "second" else "CPU s"
    header = ["", f"{short} a pair", "plain = 1", "peak memory (GB)", "plain = 1", "gradient"]
    plain, lines = rows[0], []
    for row in rows:
        cells = ["did not fit", "", "", "", ""]
        if "seconds" in row:
            against = ["", ""]
            if "seconds" in plain:
                against = [f"{cost(row) / cost(plain):.2f}", f"{memory(row) / memory(plain):.2f}"]
            cells = [f"{cost(row):.3f}", against[0], f"{memory(row):.2f}", against[1]]
            cells.append(f"{row['gradient_difference']:.0e}" if row["gradient_difference"] else "0")
        lines.append([f"+ {row['trick']}" if row["tricks"] else row["trick"], *cells])
    return _table(header, lines)


def _versions(results: list[Result]) -> str:
    """Return what is installed where, said once where it is the same everywhere."""
    found = {row["contestant"]: row["versions"] for row in results if "versions" in row}
    texts = {name: ", ".join(" ".join(pair) for pair in sorted(v.items())) for name, v in found.items()}
    if len(set(texts.values())) == 1:
        return f"{next(iter(texts.values()))} everywhere"
    return "; ".join(f"{name}: {text}" for name, text in texts.items())


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
