"""What models said, kept on disk: an evaluation whose gate or metrics changed, or that was interrupted,
does not
run the model again.

The key is everything an answer depends on: the model's digest, the tokens it was asked, and the code that
asked. Values are scores and answers, a few hundred bytes an item.
"""

import hashlib
import json
import sqlite3
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sartor_models.generate import Answer
from sartor_models.questions import Question, Response
from sartor_models.scoring import Score

_VERSION = 2
_PATIENCE_SECONDS = 30.0
_CHUNK = 500


class AnswerCache:
    """Responses by model and question, in one file that several processes may use at once.

    Args:
        path: of the file; its folder must exist.
        most_bytes: what is used least is forgotten beyond this.
    """

    def __init__(self, path: Path, most_bytes: int = 2_000_000_000) -> None:
        self._path, self._most_bytes = path, most_bytes
        with self._connect() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS responses"
                " (key BLOB PRIMARY KEY, value TEXT NOT NULL, used REAL NOT NULL) WITHOUT ROWID"
            )
            connection.execute("CREATE INDEX IF NOT EXISTS responses_used ON responses (used)")

    def find(self, model: str, questions: Sequence[Question]) -> dict[int, Response]:
        """Those of the questions that this model has answered before, by position."""
        keys = {key_of(model, question): position for position, question in enumerate(questions)}
        found: dict[int, Response] = {}
        with self._connect() as connection:
            for start in range(0, len(keys), _CHUNK):
                some = list(keys)[start : start + _CHUNK]
                marks = ",".join("?" * len(some))
                rows = connection.execute(f"SELECT key, value FROM responses WHERE key IN ({marks})", some)  # noqa: S608
                known = {row[0]: row[1] for row in rows}
                connection.execute(
                    f"UPDATE responses SET used = ? WHERE key IN ({marks})",  # noqa: S608
                    [time.time(), *some],
                )
                found |= {keys[key]: _response(value) for key, value in known.items()}
        # Equal questions share a key: give each its response.
        by_key = {key: found[position] for key, position in keys.items() if position in found}
        return {
            position: by_key[key]
            for position, question in enumerate(questions)
            if (key := key_of(model, question)) in by_key
        }

    def keep(self, model: str, answered: Iterable[tuple[Question, Response]]) -> None:
        """Remember responses. A full disk must not cost the evaluation its result: then nothing is kept."""
        now = time.time()
        rows = [(key_of(model, question), _dump(response), now) for question, response in answered]
        try:
            with self._connect() as connection:
                connection.executemany("INSERT OR REPLACE INTO responses VALUES (?, ?, ?)", rows)
        except sqlite3.OperationalError:
            return
        self._forget()

    def _forget(self) -> None:
        """Drop the tenth that was used longest ago when the file is too large; its pages are used again."""
        if self._path.stat().st_size <= self._most_bytes:
            return
        with self._connect() as connection:
            [free] = connection.execute("PRAGMA freelist_count").fetchone()
            [pages] = connection.execute("PRAGMA page_count").fetchone()
            if free * 10 < pages:
                [count] = connection.execute("SELECT count(*) FROM responses").fetchone()
                connection.execute(
                    "DELETE FROM responses WHERE key IN (SELECT key FROM responses ORDER BY used LIMIT ?)",
                    [count // 5],
                )

    def _connect(self) -> "_Session":
        return _Session(self._path)


class _Session:
    """A connection that commits at the end of its block and closes."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=_PATIENCE_SECONDS)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._connection.commit()
        finally:
            self._connection.close()


def key_of(model: str, question: Question) -> bytes:
    """The digest of all that a response depends on."""
    digest = hashlib.blake2b(digest_size=20)
    digest.update(f"{_VERSION}|{model}|{question.max_new_tokens}|{json.dumps(question.stops)}|".encode())
    for ids in (question.prompt_ids, *question.answer_ids):
        digest.update(struct.pack(f"<I{len(ids)}I", len(ids), *ids))
    return digest.digest()


def _dump(response: Response) -> str:
    answer = response.answer
    return json.dumps(
        {
            "scores": [[list(score.log_probabilities), list(score.top1_ids)] for score in response.scores],
            "answer": None if answer is None else [list(answer.ids), answer.finished],
        }
    )


def _response(text: str) -> Response:
    value: dict[str, Any] = json.loads(text)
    answer = value["answer"]
    return Response(
        tuple(Score(tuple(chances), tuple(map(int, best))) for chances, best in value["scores"]),
        None if answer is None else Answer(tuple(map(int, answer[0])), bool(answer[1])),
    )
