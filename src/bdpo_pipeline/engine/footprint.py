"""What a forward and backward pass takes in memory, found out by running it without computing anything.

Torch's fake tensors have shapes and no content. The pass runs with them through the very code that trains, every tensor that comes and
goes is counted, and the most that lived at once is the answer: for any architecture, layout, adapter or attention, and for a model
whose weights are nowhere (on the meta device), too. What kernels allocate inside themselves is not seen.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(model: nn.Module, run: Callable[[], Tensor], device: torch.device, *, learning: bool) -> int:
    """Return the most bytes that tensors take at once during a pass, beyond weights, their gradients and the optimiser's state.

    Args:
        model: all of whose weights the pass uses; it is left as it was.
        run: the pass, to a tensor that is summed and, if learning, differentiated.
        device: to compute on; the model need not be there.
        learning: whether there is a backward pass.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    modes = {module: module.training for module in model.modules()}
    model.train(learning)
    try:
        with (
            mode,
            torch.random.fork_rng(devices=[]),
            torch.set_grad_enabled(learning),
            _unpacking(model),
        ):
            weights = _without_content(model, device)
            count = _Count(weights.values())
            with count:
                functional_call(
                    _Pass(model, run), {f"model.{name}": value for name, value in weights.items()}
                )
    finally:
        for module, training in modes.items():
            module.training = training
    return count.peak


class _Pass(nn.Module):
    """A pass as a module, whose weights can be swapped for the time of a call."""

    def __init__(self, model: nn.Module, run: Callable[[], Tensor]) -> None:
        super().__init__()
        self.model = model
        self._run = run

    def forward(self) -> None:
        outcome = self._run()
        if torch.is_grad_enabled():
            # Within the call: activation checkpointing computes with the weights again.
            outcome.sum().backward()


def _without_content(model: nn.Module, device: torch.device) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if hasattr(
            value, "quant_state"
        ):  # its shape is not that of what it stands for; its operations take it as it is
            continue
        empty = torch.empty_like(value, device=device)
        if value.requires_grad:
            empty.requires_grad_()
            # Gradients of weights are counted with the weights, in the precision that they are gathered in.
            empty.register_post_accumulate_grad_hook(_drop_gradient)
        found[name] = empty
    return found


def _drop_gradient(weight: Tensor) -> None:
    weight.grad = None


class _UnpackedLinear(torch.autograd.Function):
    """A linear layer of quantised weights, which are unpacked in either pass and kept in neither."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, outputs: int) -> Tensor:
        ctx.inputs = x.shape[-1]
        return x @ x.new_empty(ctx.inputs, outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ gradient.new_empty(gradient.shape[-1], ctx.inputs), None


@contextmanager
def _unpacking(model: nn.Module) -> Iterator[None]:
    """Let quantised layers take what they take without touching their weights, which kernels may repack when they first meet them."""
    # A layer's own weight: an adapter's layer shows that of the layer below it, too.
    quantised: list[Any] = [
        module for module in model.modules() if hasattr(module._parameters.get("weight"), "quant_state")
    ]
    for module in quantised:
        module.forward = partial(_forward_unpacked, module)
    try:
        yield
    finally:
        for module in quantised:
            del module.forward


def _forward_unpacked(module: Any, x: Tensor) -> Tensor:
    dtype = module.compute_dtype or x.dtype
    computed: Tensor = _UnpackedLinear.apply(x.to(dtype), module.out_features)  # type: ignore[no-untyped-call]
    return computed.to(x.dtype)


class _Count(TorchDispatchMode):
    """Counts the bytes of tensors that operations make, until they are gone."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        storages = [tensor.untyped_storage() for tensor in known]
        self._known = {id(storage): storage for storage in storages}
        self._living: set[int] = set()
        self._bytes = 0
        self.peak = 0

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._add(value.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self._known or key in self._living:
            return
        size = storage.nbytes()
        self._living.add(key)
        self._bytes += size
        self.peak = max(self.peak, self._bytes)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._living.discard(key)
        self._bytes -= size
