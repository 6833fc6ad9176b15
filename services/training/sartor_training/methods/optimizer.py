"""AdamW with a float32 copy of every taught weight, so that small steps are not lost to bfloat16."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class MasterAdamW:
    """AdamW (Loshchilov and Hutter 2019) over named parameters of any floating dtype.

    Everything that decides the next step is in `tensors`, so a training goes on bit for bit.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], weight_decay: float) -> None:
        self._live = dict(parameters)
        self._masters = {
            name: torch.nn.Parameter(parameter.detach().to(torch.float32, copy=True))
            for name, parameter in self._live.items()
        }
        # Norms and biases are not pulled to zero.
        decayed = [master for master in self._masters.values() if master.dim() > 1]
        free = [master for master in self._masters.values() if master.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}],
            betas=(0.9, 0.999),
            eps=1e-8,
            foreach=True,
        )
        self._keys = ("exp_avg", "exp_avg_sq", "step")

    def step(self, learning_rate: float, max_norm: float) -> float:
        """Clip the gradients to `max_norm`, move the weights, and return the gradients' norm before
        clipping."""
        for name, parameter in self._live.items():
            gradient = parameter.grad
            self._masters[name].grad = None if gradient is None else gradient.to(torch.float32)
            parameter.grad = None
        norm = float(torch.nn.utils.clip_grad_norm_(self._masters.values(), max_norm, foreach=True))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._publish()
        return norm

    def tensors(self) -> dict[str, torch.Tensor]:
        """Copies of the float32 weights ("weights/NAME") and of the optimizer's state
        ("optimizer/KEY/NAME")."""
        found = {f"weights/{name}": master.detach().clone() for name, master in self._masters.items()}
        for name, master in self._masters.items():
            for key, value in self._optimizer.state.get(master, {}).items():
                found[f"optimizer/{key}/{name}"] = value.detach().clone()
        return found

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` gave."""
        with torch.no_grad():
            for name, master in self._masters.items():
                master.copy_(tensors[f"weights/{name}"])
                state = {key: tensors.get(f"optimizer/{key}/{name}") for key in self._keys}
                if all(value is not None for value in state.values()):
                    self._optimizer.state[master] = {
                        key: value.clone() for key, value in state.items() if value is not None
                    }
        self._publish()

    def _publish(self) -> None:
        """Round the float32 weights into the model."""
        with torch.no_grad():
            for name, parameter in self._live.items():
                parameter.copy_(self._masters[name])
