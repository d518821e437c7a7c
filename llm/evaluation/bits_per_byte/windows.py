"""Windows that cut a document for scoring when it is longer than the model's context.

Windows overlap by half: a token is scored once, with at least half a window of history before it (all of it, if
the document is no longer than that). The last window ends with the document and is as long as the others, so its
tokens see more. The price is that the tokens of a long document are read about twice.

Law: the `scored` ranges of `windows(n, w)` are `range(n)`, cut without gap or overlap.
Source: Hugging Face, "Perplexity of fixed-length models" (strided windows).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Positions [start, end) are read, and the predictions at [scored_from, end) count."""

    start: int
    scored_from: int
    end: int

    def __len__(self) -> int:
        """Positions that are read."""
        return self.end - self.start


def windows(positions: int, window_tokens: int) -> list[Window]:
    """Cut `positions` predictions into windows of at most `window_tokens`; [] if there are none."""
    if window_tokens < 1:
        raise ValueError(f"a window of {window_tokens} tokens")
    cut: list[Window] = []
    stride = window_tokens - window_tokens // 2
    scored = 0
    while scored < positions:
        end = min(window_tokens if not cut else scored + stride, positions)
        cut.append(Window(max(0, end - window_tokens), scored, end))
        scored = end
    return cut
