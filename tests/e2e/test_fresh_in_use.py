"""Fresh runs of a part of the chain, after a failure, and with tracking."""

from .fresh_project import REPORT, SOURCE


def test_part_of_the_chain_as_it_is_asked_for(edited):
    edited.replace(
        "conf/base/parameters_reference.yml", "max_truncated_share: 0.01", "max_truncated_share: 0.02"
    )
    judging = edited.run("--from-nodes", "judge_generations", "--to-nodes", "summarise_judgements")
    assert (judging.ran, judging.fresh) == ({}, ["judge_generations", "summarise_judgements"])
    tagged = edited.run("--tags", "reference")
    assert tagged.ran.keys() == {"tokenise_pairs"}
    assert edited.run("--pipelines", "reference").ran == {}
    assert edited.run().ran.keys() == set(REPORT.split())


def test_after_a_failed_run_what_was_done_stays_done(edited):
    edited.replace(
        "conf/base/parameters_reference.yml", "max_truncated_share: 0.01", "max_truncated_share: 0.02"
    )
    edited.replace(f"{SOURCE}/judges/refusal_phrases.py", "|must refuse)", "|must refuse|must really refuse)")
    page = edited.folder / SOURCE / "pipelines/reporting/nodes.py"
    kept = page.read_text()
    page.write_text(
        kept.replace(
            "    return render_report(",
            "    raise RuntimeError('the printer burns')\n    return render_report(",
        )
    )
    failed = edited.run()
    assert failed.status != 0
    assert failed.ran.keys() == {
        "tokenise_pairs",
        "train_judges",
        "validate_judges",
        "judge_generations",
        *REPORT.split(),
    }
    page.write_text(kept)
    assert edited.run().ran.keys() == {"gather_artifacts", "write_report"}
    assert edited.run().ran == {}


def test_a_run_with_nothing_to_do_is_tracked_and_ends_well(edited):
    import mlflow

    (edited.folder / "conf" / "test" / "tracking.yml").write_text("tracking: {enabled: true}\n")
    run = edited.run()
    assert (run.status, run.ran) == (0, {}), run.output[-4000:]
    store = mlflow.tracking.MlflowClient(f"sqlite:///{edited.folder}/data/test/mlflow.db")
    experiments = [one.experiment_id for one in store.search_experiments()]
    tracked = store.search_runs(experiments)
    assert [one.info.status for one in tracked] == ["FINISHED"]
