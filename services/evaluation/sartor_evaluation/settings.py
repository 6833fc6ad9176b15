"""The settings of evaluation: the only reader of its environment."""

from __future__ import annotations

from dataclasses import dataclass, field

from sartor_platform.settings import PlatformSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings(PlatformSettings):
    """What evaluation needs to know beyond the platform's settings."""

    listed_item_results: int = 50_000
    """Item results of one evaluation that can be listed by gRPC, the worst first; the Parquet file has all.
    """
    endpoint_urls: str = ""
    """URLs below which candidates may be asked, comma-separated: "https://models.example.com/v1". None else
    is."""
    endpoint_keys: str = field(default="", repr=False)
    """Keys for these: "name=key", comma-separated. Clients name them and never see them."""
    gateway_url: str = ""
    """Where deployed endpoints answer; may always be asked."""
    answer_cache_bytes: int = 2_000_000_000
    """Answers that are remembered, so that only a model, its items or their prompts make it run again."""
    runner_bind: str = "127.0.0.1:0"
    """Where a worker's resident runners listen for the servers; port 0 takes a free one."""
    runner_memory_bytes: int = 4_000_000_000
    """Memory of all resident runners of a worker; beyond it the least recently used end."""

    @property
    def allowed_urls(self) -> tuple[str, ...]:
        """Every URL below which may be asked."""
        given = (url.strip() for url in (*self.endpoint_urls.split(","), self.gateway_url))
        return tuple(url for url in given if url)

    def key(self, name: str) -> str | None:
        """The key of this name, None where there is none."""
        pairs = (pair.partition("=") for pair in self.endpoint_keys.split(","))
        return {left.strip(): right.strip() for left, _, right in pairs}.get(name)
