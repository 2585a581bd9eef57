"""TRL's trainer with a weight for every sample: 0 leaves it out of the gradient, 2 counts it twice."""

from typing import Any

from trl.trainer.sft_trainer import SFTTrainer

from laif_helpers.train.settings import Row

SCALE = 2.0**20
"""On weights and on their sum: TRL divides by no less than 1, which would shrink a step of small weights."""


class WeightedTrainer(SFTTrainer):
    """Loss of an optimiser step: the sum of weight times token loss, over the sum of weights of its loss tokens.

    That is the mean over a batch in which each sample stands ``weight`` times, on all ranks together.
    """

    data_collator: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._signature_columns = ["input_ids", "labels", "weight"]
        collate: Any = self.data_collator

        def with_weights(rows: list[Row]) -> Row:
            import torch

            return {**collate(rows), "weight": torch.tensor([row["weight"] for row in rows], dtype=torch.float32)}

        self.data_collator = with_weights

    def compute_loss(self, model: Any, inputs: Row, *args: Any, **options: Any) -> Any:
        """TRL's loss over log-probabilities that are multiplied by their sample's weight."""
        weight = inputs.pop("weight")[:, None] * SCALE

        def weighted(**given: Any) -> Any:
            outputs = model(**given)
            if outputs.get("log_probs") is not None:
                outputs.log_probs = outputs.log_probs * weight
            return outputs

        return super().compute_loss(weighted, inputs, *args, **options)

    def _get_num_items_in_batch(self, batch_samples: list[Row], device: Any) -> Any:
        """The step's loss tokens, each counted ``weight`` times, over accumulation steps and ranks."""
        total = sum((batch["labels"][:, 1:].ne(-100).sum(1) * batch["weight"]).sum() for batch in batch_samples)
        total = total.to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total * SCALE
