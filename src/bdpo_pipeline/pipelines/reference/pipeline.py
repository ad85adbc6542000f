"""The reference graph."""

from kedro.pipeline import Pipeline, node

from .nodes import compute_comprehension, plot_comprehension, score_reference, tokenise_pairs


def create_pipeline() -> Pipeline:
    """Return the pipeline from pairs to token ids, reference log-probs and coefficients."""
    return Pipeline(
        [
            node(
                tokenise_pairs,
                ["base_model", "training_pairs", "validation_pairs", "heldout_pairs", "params:tokenisation"],
                "tokenised_pairs",
                name="tokenise_pairs",
            ),
            node(
                score_reference,
                [
                    "base_model",
                    "tokenised_pairs",
                    "params:objective",
                    "params:comprehension",
                    "params:compute",
                    "params:seed",
                ],
                ["reference_logps", "reference_report"],
                name="score_reference",
            ),
            node(
                compute_comprehension,
                ["reference_logps", "params:objective", "params:comprehension", "params:seed"],
                ["comprehension", "comprehension_diagnostics"],
                name="compute_comprehension",
            ),
            node(
                plot_comprehension,
                [
                    "comprehension",
                    "reference_logps",
                    "params:objective",
                    "params:comprehension",
                    "params:seed",
                ],
                [
                    "comprehension_by_side",
                    "comprehension_imbalance",
                    "comprehension_and_length",
                    "chosen_share",
                ],
                name="plot_comprehension",
            ),
        ],
        tags="reference",
    )
