"""Exact texts as tokens, cut where lm-evaluation-harness cuts them, so that log-likelihoods agree with
its."""

from collections.abc import Iterator

from sartor_models.tokenizer import ChatTokenizer


def continuation(tokenizer: ChatTokenizer, context: str, text: str) -> tuple[list[int], list[int]]:
    """(tokens of the context, tokens of what follows).

    Spaces at the context's end belong to what follows, and both are tokenised together: so words keep their
    usual tokens. Too long a context loses its beginning.
    """
    if not context:
        answer = tokenizer.encode(text)
        prompt = [tokenizer.prefix_id]
        return (prompt, answer) if answer[:1] != prompt or len(answer) < 2 else (answer[:1], answer[1:])
    kept = context.rstrip()
    text, context = context[len(kept) :] + text, kept
    whole = tokenizer.encode(context + text)
    asked = len(tokenizer.encode(context))
    prompt, answer = whole[:asked], whole[asked:]
    room = tokenizer.context_length + 1 - len(answer)
    return (prompt or [tokenizer.prefix_id])[-room:], answer


def windows(tokenizer: ChatTokenizer, text: str) -> Iterator[tuple[list[int], list[int]]]:
    """(context, tokens to predict) of a text's pieces, each token predicted once.

    The first follows the prefix token; later pieces fill the model's context and follow what comes before.
    """
    tokens, most = tokenizer.encode(text), tokenizer.context_length
    first = min(most, len(tokens))
    if not tokens:
        return
    yield [tokenizer.prefix_id], tokens[:first]
    done = first
    while done < len(tokens):
        size = min(len(tokens) - done, most)
        end = done + size
        # The whole window is `most` tokens of input, the last of which predicts the last of the piece.
        yield tokens[end - most - 1 : done], tokens[done:end]
        done = end
