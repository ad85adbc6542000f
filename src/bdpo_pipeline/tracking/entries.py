"""What each entry of a journal does in MLflow."""

from pathlib import Path
from typing import Any

from bdpo_pipeline.tracking.journal import Entry
from bdpo_pipeline.tracking.model_registration import TrainedAdapter, register_adapter
from bdpo_pipeline.tracking.progress import Progress
from bdpo_pipeline.tracking.run_store import RunStore


def apply(entry: Entry, folder: Path, store: RunStore, progress: Progress, head: Entry) -> None:
    """Do what an entry says; to do it twice is to do it once.

    Args:
        entry: any of a journal.
        folder: of the session, with the files.
        store: where to.
        progress: ids of runs, which a started one is added to.
        head: the journal's first entry.

    Raises:
        ValueError: no version of this project writes such an entry.
        FileNotFoundError: a file that it speaks of is gone.
        Exception: what the store answers.
    """
    run = progress.runs.get(entry.get("run", ""), "")
    match entry["do"]:
        case "session":
            pass
        case "start":
            parent = progress.runs[entry["parent"]] if entry["parent"] else None
            progress.runs[entry["run"]] = store.create_run(entry, {**entry["tags"], **_process(head)}, parent)
            progress.open_runs = [*progress.open_runs, entry["run"]]
        case "parameters":
            store.log_parameters(run, entry["values"])
        case "tags":
            store.set_tags(run, entry["values"])
        case "metrics":
            apply_metrics([entry], store, progress)
        case "inputs":
            store.log_inputs(run, entry["datasets"])
        case "file":
            store.log_file(run, folder / entry["file"], entry["folder"])
        case "register":
            version = register_adapter(
                store, run, TrainedAdapter(**entry["trained"]), entry["tags"], entry["id"]
            )
            store.set_tags(run, {"registered_model": f"{store.settings.registered_model}/{version}"})
        case "end":
            store.end_run(entry, run)
            progress.open_runs = [run for run in progress.open_runs if run != entry["run"]]
        case _:
            raise ValueError("no entry of a journal that this version knows")


def apply_metrics(entries: list[Entry], store: RunStore, progress: Progress) -> None:
    """Send metrics of one run together."""
    measured = ((entry["at"], step, values) for entry in entries for step, values in entry["points"])
    store.log_metrics(progress.runs[entries[0]["run"]], measured)


def _process(head: Entry) -> dict[str, Any]:
    """Return whose run it is, so that a person can tell a process that lives from one that is gone."""
    return {"process.host": head["host"], "process.pid": str(head["pid"])}
