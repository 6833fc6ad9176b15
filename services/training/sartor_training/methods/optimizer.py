"""AdamW with a float32 copy of every taught weight, so that small steps are not lost to bfloat16."""

from __future__ import annotations

from collections.abc import Mapping

import torch

_KEYS = ("exp_avg", "exp_avg_sq")


class MasterAdamW:
    """AdamW (Loshchilov and Hutter 2019) over named parameters of any floating dtype.

    The copies lie behind one another in one tensor, so that a step is a few operations however many weights
    there are. Everything that decides the next step is in `tensors`, so a training goes on bit for bit.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], weight_decay: float) -> None:
        # Norms and biases are not pulled to zero.
        decayed = {name: parameter for name, parameter in parameters.items() if parameter.dim() > 1}
        free = {name: parameter for name, parameter in parameters.items() if parameter.dim() <= 1}
        self._groups = [_Flat(group) for group in (decayed, free) if group]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [group.master], "weight_decay": weight_decay if group.decays else 0.0}
                for group in self._groups
            ],
            betas=(0.9, 0.999),
            eps=1e-8,
            fused=True,
        )

    def step(self, learning_rate: float, max_norm: float) -> float:
        """Clip the gradients to `max_norm`, move the weights, and return the gradients' norm before
        clipping."""
        gradients = [group.gather() for group in self._groups]
        norm = float(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])))
        for gradient in gradients:
            gradient.mul_(min(1.0, max_norm / (norm + 1e-6)))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        for flat in self._groups:
            flat.publish()
        return norm

    def tensors(self) -> dict[str, torch.Tensor]:
        """Copies of the float32 weights ("weights/NAME") and of the optimizer's state
        ("optimizer/KEY/NAME")."""
        found: dict[str, torch.Tensor] = {}
        for flat in self._groups:
            found |= {f"weights/{name}": view.clone() for name, view in flat.views(flat.master.data).items()}
            state = self._optimizer.state.get(flat.master, {})
            for key in _KEYS if state else ():
                found |= {
                    f"optimizer/{key}/{name}": view.clone() for name, view in flat.views(state[key]).items()
                }
            found |= {f"optimizer/step/{name}": state["step"].clone() for name in flat.live if state}
        return found

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` gave."""
        for flat in self._groups:
            flat.fill(flat.master.data, {name: tensors[f"weights/{name}"] for name in flat.live})
            steps = [tensors.get(f"optimizer/step/{name}") for name in flat.live]
            if steps[0] is not None:
                state: dict[str, torch.Tensor] = {"step": steps[0].clone()}
                for key in _KEYS:
                    state[key] = torch.zeros_like(flat.master.data)
                    flat.fill(state[key], {name: tensors[f"optimizer/{key}/{name}"] for name in flat.live})
                self._optimizer.state[flat.master] = state
            flat.publish()


class _Flat:
    """Parameters of any shape with their float32 copies in one tensor."""

    def __init__(self, live: Mapping[str, torch.nn.Parameter]) -> None:
        self.live = dict(live)
        self._parameters: list[torch.Tensor] = list(self.live.values())
        self._sizes = [parameter.numel() for parameter in self._parameters]
        first = self._parameters[0]
        self.decays = first.dim() > 1
        flat = torch.empty(sum(self._sizes), dtype=torch.float32, device=first.device)
        self.master = torch.nn.Parameter(flat)
        self.fill(flat, self.live)

    def views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """The parts of `flat` by name, in their own shapes."""
        parts = zip(self.live.items(), flat.split(self._sizes), strict=True)
        return {name: part.view(parameter.shape) for (name, parameter), part in parts}

    @torch.no_grad()
    def fill(self, flat: torch.Tensor, values: Mapping[str, torch.Tensor]) -> None:
        """Put values by name into their places."""
        for name, view in self.views(flat).items():
            view.copy_(values[name])

    @torch.no_grad()
    def gather(self) -> torch.Tensor:
        """Take the gradients over, in float32, and free them."""
        flat = torch.zeros_like(self.master) if self.master.grad is None else self.master.grad
        pairs = [
            (view, parameter.grad)
            for view, parameter in zip(self.views(flat).values(), self._parameters, strict=True)
        ]
        for view in (view for view, gradient in pairs if gradient is None):
            view.zero_()
        given = [(view, gradient) for view, gradient in pairs if gradient is not None]
        torch._foreach_copy_([view for view, _ in given], [gradient for _, gradient in given])
        for parameter in self._parameters:
            parameter.grad = None
        self.master.grad = flat
        return flat

    @torch.no_grad()
    def publish(self) -> None:
        """Round the float32 weights into the model."""
        torch._foreach_copy_(self._parameters, list(self.views(self.master.data).values()))
