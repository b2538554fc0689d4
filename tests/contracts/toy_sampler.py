"""A sampler that somebody adds: one module, and one line in the table."""

from detnas.search.samplers.base import History, Proposal, Sampler, SpaceExhausted
from detnas.spaces import Architecture


class CountingSampler(Sampler):
    """Counts through the space: the op of the last block changes first."""

    def propose_new(self, history: History, index: int) -> Proposal:
        known = self.seen(record for record in history if record.index != index)
        for number in range(len(self.space.ops) ** len(self.space.blocks)):
            architecture = self._number(number)
            if architecture not in known and self.budget_sampler.allows(architecture):
                return Proposal(architecture, "counting")
        raise SpaceExhausted

    def _number(self, number: int) -> Architecture:
        ops = []
        for _ in self.space.blocks:
            number, op = divmod(number, len(self.space.ops))
            ops.append(op)
        return self.space.architecture(ops[::-1])
