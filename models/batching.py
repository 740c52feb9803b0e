"""Continuous batching: requests of different lengths join and leave a running batch over one pool of cache blocks.

A request joins when a row of the batch and all the blocks that it can come to need are free, first come, first served;
it leaves, and gives them back, with its last token. Its prompt goes through the decode step token by token, as in
`models.generate`, beside the other rows.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Sequence

import numpy as np
from mindspore import Tensor

from .paged import PagedLlama


@dataclasses.dataclass(eq=False)
class Request:
    """A prompt, and the tokens that were written to it so far. `blocks` are what it holds while it runs."""

    prompt: list[int]
    max_tokens: int
    tokens: list[int] = dataclasses.field(default_factory=list)
    position: int = 0
    blocks: list[int] = dataclasses.field(default_factory=list)

    @property
    def next_input(self) -> int:
        """The token at the next position: of the prompt, or the last that was written."""
        return self.prompt[self.position] if self.position < len(self.prompt) else self.tokens[-1]

    def advance(self, chosen: int) -> None:
        """Go to the next position; `chosen` follows the token that was just read, and counts behind the prompt."""
        self.position += 1
        if self.position >= len(self.prompt):
            self.tokens.append(chosen)


class ContinuousBatch:
    """Runs requests greedily through the rows of `net`. `rows` has the request of each row, or None.

    Block 0 is nobody's: rows that are not in use write there.
    """

    def __init__(self, net: PagedLlama, stops: Collection[int] = ()) -> None:
        self.rows: list[Request | None] = [None] * net.batch
        self.waiting: deque[Request] = deque()
        self.free = list(range(net.blocks - 1, 0, -1))
        self._net = net
        self._stops = frozenset(stops)

    def add(self, prompt: Sequence[int], max_tokens: int) -> Request:
        """Queue a request for up to `max_tokens` tokens; it ends earlier with one of the stops, which it keeps.

        Raises ValueError for an empty prompt, unknown tokens, or more positions than a sequence can have.
        """
        vocabulary, limit = self._net.config.vocab_size, min(self._net.table_width, self._net.blocks - 1)
        request = Request(list(prompt), max_tokens)
        if not request.prompt or max_tokens < 1:
            raise ValueError(f"prompt has {len(prompt)} tokens and max_tokens is {max_tokens}; both must be at least 1")
        unknown = [token for token in request.prompt if not 0 <= token < vocabulary]
        if unknown:
            raise ValueError(f"prompt holds token {unknown[0]}; it must be below vocab_size, {vocabulary}")
        if self._blocks_needed(request) > limit:
            raise ValueError(
                f"prompt has {len(prompt)} tokens and max_tokens is {max_tokens}, which take "
                f"{self._blocks_needed(request)} blocks of {self._net.block_size}; a sequence can have {limit}"
            )
        self.waiting.append(request)
        return request

    def step(self) -> list[Request | None]:
        """Let requests join, and read one token of each row's; returns the rows as they ran, with who has left."""
        self._admit()
        ran = list(self.rows)
        chosen = self._choose()
        for row, request in enumerate(ran):
            if request is None:
                continue
            request.advance(int(chosen[row]))
            if len(request.tokens) == request.max_tokens or not self._stops.isdisjoint(request.tokens[-1:]):
                self._release(row, request)
        return ran

    def run(self) -> list[list[Request | None]]:
        """Step until nothing waits or runs; returns the rows of every step."""
        steps = []
        while self.waiting or any(self.rows):
            steps.append(self.step())
        return steps

    def _admit(self) -> None:
        for row, running in enumerate(self.rows):
            if running is None and self.waiting and self._blocks_needed(self.waiting[0]) <= len(self.free):
                request = self.waiting.popleft()
                request.blocks = [self.free.pop() for _ in range(self._blocks_needed(request))]
                self.rows[row] = request

    def _choose(self) -> np.ndarray:
        """The most likely next token of each row, (B,)."""
        token, position = np.zeros((len(self.rows), 1), np.int32), np.zeros(len(self.rows), np.int32)
        table = np.zeros((len(self.rows), self._net.table_width), np.int32)
        for row, request in enumerate(self.rows):
            if request is not None:
                token[row], position[row] = request.next_input, request.position
                table[row, : len(request.blocks)] = request.blocks
        return self._net(Tensor(token), Tensor(position), Tensor(table)).asnumpy().argmax(-1)

    def _release(self, row: int, request: Request) -> None:
        self.free += request.blocks
        request.blocks = []
        self.rows[row] = None

    def _blocks_needed(self, request: Request) -> int:
        """The last token that is written is not read."""
        return -(-(len(request.prompt) + request.max_tokens - 1) // self._net.block_size)
