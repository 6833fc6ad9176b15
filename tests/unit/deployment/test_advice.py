"""Advice: which place is cheapest, which requirement decides, and a clear no."""

from __future__ import annotations

import json

import pytest
from sartor_deployment.advice.measured import Measured, Weights, basis
from sartor_deployment.advice.price_table import currency, read_price_table
from sartor_deployment.advice.recommend import Requirements, recommend
from sartor_deployment.build.memory_speed import memory_bytes_per_second
from sartor_deployment.parity.speed import is_here
from sartor_platform.errors import InvalidArgument

MODEL = Measured(
    (Weights("F16", 270_000_000, loss_gap=0.0), Weights("Q4_1", 98_000_000, loss_gap=0.03)), 135_000_000
)


def test_the_cheapest_place_that_does_is_first_and_its_figures_hold() -> None:
    """Nothing special asked: the smallest machine, and what is ranked first keeps every requirement."""
    required = Requirements(latency_p95_ms=20_000, requests_per_second=0.05, allowed_loss=0.1)
    options, impossible = recommend(MODEL, required, read_price_table())
    best = options[0]
    assert not impossible
    assert best.machine.name == "edge-small"
    assert best.latency_p95_ms <= 20_000
    assert best.capacity >= required.peak
    assert all(best.cost_per_month <= each.cost_per_month for each in options if not each.reasons)


def test_the_requirement_that_decides_is_named() -> None:
    """Without it, something cheaper would do."""
    small = Requirements(requests_per_second=0.05, prompt_tokens=30, answer_tokens=20, allowed_loss=0.1)
    quick = Requirements(150, 0.05, prompt_tokens=30, answer_tokens=20, allowed_loss=0.1)
    assert recommend(MODEL, small, read_price_table())[0][0].machine.name == "edge-small"
    options, _ = recommend(MODEL, quick, read_price_table())
    assert options[0].machine.name != "edge-small"
    assert options[0].deciding == "latency"
    strict = Requirements(requests_per_second=0.05, allowed_loss=0.01)
    assert recommend(MODEL, strict, read_price_table())[0][0].weights.quantization == "F16"


def test_data_that_may_not_leave_excludes_the_cloud() -> None:
    """Each cloud option says why."""
    options, _ = recommend(MODEL, Requirements(data_class="OWN_MACHINES"), read_price_table())
    assert options[0].machine.target in ("onprem", "edge")
    cloud = [each for each in options if each.machine.target == "cloud"]
    assert cloud
    assert all("data_class" in [r.requirement for r in each.reasons] for each in cloud)


def test_the_impossible_gets_a_no_because() -> None:
    """One token a nanosecond is not to be had; the nearest option and its figure are named."""
    options, impossible = recommend(MODEL, Requirements(latency_p95_ms=0.001), read_price_table())
    assert all(each.reasons for each in options)
    assert impossible.startswith("No, because no machine of the price table fulfils latency")
    assert "ms" in impossible
    huge = Measured((Weights("F16", 10**13),), 5 * 10**12)
    assert "memory" in recommend(huge, Requirements(), read_price_table())[1]


def test_more_bandwidth_is_never_slower_and_more_load_never_cheaper() -> None:
    """The model is monotone in what it should be."""
    table = read_price_table()
    costs = [
        recommend(MODEL, Requirements(requests_per_second=rate), table)[0][0].cost_per_month
        for rate in (0.1, 1, 10, 100)
    ]
    assert costs == sorted(costs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "moon"}, "target is one of"),
        ({"memory_gb": 0}, "above 0"),
        ({"tflops": float("nan")}, "above 0"),
        ({"engines": ["x"]}, "engines are"),
    ],
)
def test_a_broken_price_table_is_told(change: dict[str, object], said: str) -> None:
    """With the machine's name."""
    table = {"machines": [{**_machine(), **change}]}
    with pytest.raises(InvalidArgument, match=said):
        read_price_table(json.dumps(table))
    for text, why in (
        ("[]", "no JSON object"),
        ('{"machines": 5}', "no list"),
        ('{"machines": []}', "no list"),
    ):
        with pytest.raises(InvalidArgument, match=why):
            read_price_table(text)


def test_vllm_serves_the_sixteen_bits_that_its_manifests_name() -> None:
    """Also where only a smaller form was built for llama.cpp."""
    built = Measured((Weights("Q8_0", 143_000_000, loss_gap=0.5),), 135_000_000)
    options, _ = recommend(built, Requirements(), read_price_table())
    forms = {(each.engine, each.weights.quantization, each.weights.size_bytes) for each in options}
    assert forms == {("vllm", "F16", 270_000_000), ("llama.cpp", "Q8_0", 143_000_000)}
    assert options[0].engine == "vllm"  # the other loses more than is allowed


def test_tokens_measured_here_are_scaled_by_what_memory_gave_then() -> None:
    """Half of what the memory allowed here is half of what it allows elsewhere; not measured, it is 0.6."""

    def latency(tokens_per_second: float) -> float:
        weights = Weights("Q8_0", 10**9, tokens_per_second, memory_bytes_per_second=20e9)
        model = Measured((weights,), 10**9, 10_000)
        table = tuple(each for each in read_price_table() if each.name == "edge-box")
        required = Requirements(latency_p95_ms=0.001)  # one request alone
        return recommend(model, required, table)[0][0].latency_p95_ms

    assert latency(10) == pytest.approx(2 * latency(20))
    assert latency(12) == pytest.approx(latency(0))
    assert memory_bytes_per_second() > 10**8


def test_what_a_cpu_reached_stands_for_cpus_only_and_the_answer_says_so() -> None:
    """Neither for GPUs, nor for another engine; where the memory was not measured it stands for nothing."""
    required = Requirements(requests_per_second=0.01)

    def seen(engine: str = "llama.cpp", accelerator: str = "") -> dict[tuple[str, str], tuple[float, bool]]:
        weights = Weights("F16", 10**9, 5.0, memory_bytes_per_second=20e9)
        model = Measured((weights,), 5 * 10**8, engine=engine, accelerator=accelerator)
        options, _ = recommend(model, required, read_price_table())
        return {
            (each.machine.name, each.engine): (each.efficiency.value, each.efficiency.measured)
            for each in options
        }

    of_cpu = seen()
    assert of_cpu["edge-box", "llama.cpp"] == (0.25, True)
    assert of_cpu["cloud-l4", "llama.cpp"] == of_cpu["cloud-l4", "vllm"] == (0.6, False)
    of_gpu = seen("vllm", "NVIDIA L4")
    assert of_gpu["cloud-h100", "vllm"] == (0.25, True)
    assert of_gpu["cloud-l4", "llama.cpp"] == of_gpu["edge-box", "llama.cpp"] == (0.6, False)

    scaled = Measured((Weights("Q8_0", 10**9, 5.0, memory_bytes_per_second=20e9),), 10**9)
    assert "llama.cpp without a GPU: Q8_0 wrote 5.0 tokens a second" in basis(scaled)
    assert "efficiency 0.25" in basis(scaled)
    assert "for all others 0.6 is assumed" in basis(scaled)
    assert "cannot be scaled" in basis(Measured((Weights("Q8_0", 10**9, 5.0),), 10**9))
    assert basis(Measured((Weights("Q8_0", 10**9),), 10**9)).startswith("No tokens a second were measured")


def test_memory_is_measured_only_where_the_engine_runs() -> None:
    """An engine's address that is not this machine's own is another machine's."""
    assert is_here("http://127.0.0.1:9")
    assert not is_here("http://192.0.2.1:9")
    assert not is_here("http://no-such-host.invalid:9")


def test_a_peak_below_the_average_plans_for_the_average() -> None:
    """Else the machines would be too few for an ordinary hour."""
    assert Requirements(requests_per_second=8, peak_requests_per_second=3).peak == 8


def test_the_table_that_comes_with_it_names_currency_and_accelerators() -> None:
    """A machine without one computes on its CPU."""
    assert currency() == "EUR"
    assert currency(json.dumps({"machines": [_machine()]})) == ""
    assert {each.accelerator for each in read_price_table() if "vllm" in each.engines} >= {"NVIDIA L4"}
    assert not any(each.accelerator for each in read_price_table() if each.target == "edge")


def _machine() -> dict[str, object]:
    return {
        "name": "m", "target": "edge", "data_class": "DEVICE", "offline": True, "engines": ["llama.cpp"],
        "memory_gb": 1, "memory_gb_per_second": 1, "tflops": 1, "price_per_month": 1,
    }  # fmt: skip
