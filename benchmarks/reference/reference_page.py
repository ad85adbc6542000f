"""The page of the reference pass."""

from pathlib import Path

from shared import Result

HEAD = """# Speed of the reference pass

Made by `{command}` on {machine}, threads: {threads}; commit {commit}; {date}.

Log-probs of both responses of {pairs} PKU-SafeRLHF pairs (each of at most {longest} tokens with its prompt), without gradients:
`conditional` after the prompt, `marginal` after an empty one, as comprehension takes them. `ours` is the engine's scoring job; `plain`
is the model library over padded batches of eight responses in the order of the data, with all logits. Start-up is not counted. `share
of peak` is the operations that our layout needs per {clock}, for both alike, divided by the fastest matrix product measured here (see
[training speed](training_speed.md)). `places` go through the layers, padding included. `difference` is the largest of two log-probs,
in nats.
"""
TABLE = """
## {dtype}

Fastest matrix product: {peak:.0f} GFLOP per {clock}.

| pass | | pairs a s | {short} a pair | ours = 1 | peak memory (GB) | ours = 1 | share of peak | places | difference |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""
SHARED = """
## What is shared

Places that a pass computes, against one for each token of each response with its context, the last left out, if nothing were shared:

| pass | computed | nothing shared | computed / nothing shared |
| --- | --- | --- | --- |
"""


def write_page(path: Path, results: list[Result], command: str) -> None:
    """Write the page; of each pass, ours comes first."""
    first = results[0]
    on_gpu = first["device"] == "cuda"
    clock, short = ("second", "s") if on_gpu else ("CPU second", "CPU s")
    text = HEAD.format(
        command=command,
        machine=first["device_name"] if on_gpu else first["cpu"],
        threads=first["threads"],
        commit=" and ".join(dict.fromkeys(row["commit"] or "unknown" for row in results)),
        date=" and ".join(dict.fromkeys(row["date"] for row in results)),
        pairs=first["pairs"],
        longest=first["longest"],
        clock=clock,
    )
    for dtype in dict.fromkeys(row["dtype"] for row in results):
        rows = [row for row in results if row["dtype"] == dtype]
        text += TABLE.format(dtype=dtype, peak=rows[0]["peak_flops"] / 1e9, clock=clock, short=short)
        for row in rows:
            ours = next(r for r in rows if r["pass"] == row["pass"] and r["reference"] == "ours")
            text += _line(row, ours)
    text += SHARED
    for row in results:
        if row["reference"] == "ours" and row["dtype"] == first["dtype"]:
            share = row["places"] / row["places_apart"]
            text += f"| {row['pass']} | {row['places']} | {row['places_apart']} | {share:.2f} |\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _line(row: Result, ours: Result) -> str:
    cost, our_cost = _cost(row), _cost(ours)
    memory, our_memory = row["peak_memory_bytes"] / 1e9, ours["peak_memory_bytes"] / 1e9
    difference = max(abs(a - b) for a, b in zip(row["logps"], ours["logps"], strict=True))
    share = ours["needed_flops"] / row["pairs"] / cost / row["peak_flops"]
    cells = [
        row["pass"],
        f"{row['reference']}, {row['at_once']}",
        f"{row['pairs'] / row['seconds']:.2f}",
        f"{cost:.3f}",
        f"{cost / our_cost:.2f}",
        f"{memory:.2f}",
        f"{memory / our_memory:.2f}",
        f"{share:.0%}",
        f"{row['places']}",
        f"{difference:.1e}" if row is not ours else "",
    ]
    return f"| {' | '.join(cells)} |\n"


def _cost(row: Result) -> float:
    """Return the seconds that a pair takes: of the processors on a CPU, of the wall on a GPU."""
    seconds: float = row["seconds" if row["device"] == "cuda" else "cpu_seconds"]
    return seconds / row["pairs"]
