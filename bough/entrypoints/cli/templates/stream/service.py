from collections.abc import Iterator


class Echo:
    """Streams the last message back, word by word, to any OpenAI client. Put a model in its place."""

    def predict(self, messages: list[dict[str, str]], max_tokens: int = 256) -> Iterator[str]:
        for word in messages[-1]["content"].split()[:max_tokens]:
            yield word + " "
