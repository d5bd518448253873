"""A character-level language model, in the manner of nanoGPT, on the help texts that ship with Python.

    python examples/char_lm/train.py model.width=32                      one run
    python examples/char_lm/train.py -m hydra/sweeper=cells name=char_lm \
        model.width=8,16,32 data.tokens=32768,65536,131072 \
        'optim.lr=tag(nuisance,log,interval(1e-3,5e-2))' hydra.sweeper.n_trials=5 hydra.sweeper.n_repeats=2
    python -m mnist_scaling.fit name=char_lm

`@cell_task`, the second argument `report` and what `main` returns are all that tuning asks for.
"""

from __future__ import annotations

import math
from pydoc_data.topics import topics

import hydra
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional

from mnist_scaling import cell_task

TEXT = "\n".join(topics[name] for name in sorted(topics))
LETTERS = sorted(set(TEXT))
EVALUATED = 65_536
"""Characters at each end of the text that no run trains on: for validation the last, for the test the first."""


def encoded() -> Tensor:
    """The text as whole numbers, one per character."""
    place = {letter: i for i, letter in enumerate(LETTERS)}
    return torch.tensor([place[letter] for letter in TEXT])


class Block(nn.Module):
    """Causal attention and a two-layer net, each beside a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """From (batch, length, width) to the same."""
        batch, length, width = x.shape
        split = self.qkv(self.norms[0](x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*split, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.norms[1](x))))


class CharLM(nn.Module):
    """A small GPT: logits of the next character at every place."""

    def __init__(self, letters: int, context: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(letters, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, letters, bias=False)
        for table in (self.letters, self.places, self.head):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, letters: Tensor) -> Tensor:
        """From (batch, length) to (batch, length, letters)."""
        x = self.letters(letters) + self.places.weight[: letters.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def loss_of(model: nn.Module, sequences: Tensor) -> Tensor:
    """Mean cross-entropy of the next character, in nats, of (batch, length + 1) characters."""
    logits = model(sequences[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten())


@torch.no_grad()
def evaluated(model: nn.Module, text: Tensor, context: int, tokens: int) -> float:
    """The loss on the first characters of a text."""
    count = tokens // context
    sequences = text[: count * context + 1].unfold(0, context + 1, context)
    return sum(loss_of(model, part).item() * len(part) for part in sequences.split(256)) / len(sequences)


@hydra.main(config_path="conf", config_name="train")
@cell_task
def main(cfg: DictConfig, report) -> dict[str, float]:
    """Train once."""
    torch.set_num_threads(1)
    torch.manual_seed(cfg.seed)
    text, context = encoded(), cfg.data.context
    test, trained, validation = text[:EVALUATED], text[EVALUATED:-EVALUATED], text[-EVALUATED:]
    sequences = trained.unfold(0, context + 1, context)
    model = CharLM(len(LETTERS), context, cfg.model.width, cfg.model.depth, cfg.model.heads)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.optim.lr, betas=(0.9, 0.98), weight_decay=0.01)
    steps = cfg.data.tokens // (context * cfg.optim.batch_size)
    warmup = max(1, round(cfg.optim.warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    order = torch.randperm(len(sequences))
    for step in range(steps):
        start = step * cfg.optim.batch_size
        batch = sequences[order[start : start + cfg.optim.batch_size]]
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % max(steps // 4, 1) == 0:
            report((step + 1) / steps, evaluated(model, validation, context, cfg.eval_tokens // 4))
    n_params = sum(p.numel() for p in model.parameters())
    n_seen = steps * cfg.optim.batch_size * context
    n_blocks = sum(p.numel() for p in model.blocks.parameters())
    return {
        "val_loss": evaluated(model, validation, context, cfg.eval_tokens),
        "test_loss": evaluated(model, test, context, cfg.eval_tokens),
        "n_params": n_params,
        "n_params_hidden": n_blocks,
        "n_seen": n_seen,
        "flops": 6 * n_seen * (n_blocks + model.head.weight.numel()),
    }


if __name__ == "__main__":
    main()
