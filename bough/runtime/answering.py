"""From requests to replies, for models that answer at once (modes `item` and `batch`), and what all modes share."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Union

from bough.runtime import batching
from bough.runtime.answers import explain, failure, refusal, whole
from bough.runtime.frames import CHAT, EMBED, INFER, PREDICT, Reply, Request
from bough.runtime.hints import hints
from bough.runtime.models import Model
from bough.runtime.protocols import chat, embeddings, inference, plain
from bough.runtime.protocols.work import Failed, Work
from bough.runtime.service import Reject

# A model that takes one item gets several in a frame; answers leave at the latest this long after they are known.
_FLUSH_S = 0.001

Refuse = Callable[[int, Reject], Reply]


class Answering:
    """Built once for a model."""

    def __init__(self, model: Model, name: str) -> None:
        self.model = model
        self.contract = model.contract
        self.further: Callable[[int], None] = lambda _: None  # told of items beyond the first of a request
        self._name = hints.service = name
        self._tensors = inference.Mapper(model.contract, name) if model.tensors is None else None
        self._chat = chat.Chat(model.contract, model.instance, name) if model.openai == "chat" else None
        self._embeddings = (
            embeddings.Embeddings(model.contract, model.instance, name) if model.openai == "embeddings" else None
        )

    def expand(self, request: Request) -> Union[Work, Reply]:
        """What there is to do, or at once the refusal, in the words of the request's protocol."""
        found = self._expanded(request)
        if isinstance(found, Work) and len(found.items) > 1:
            self.further(len(found.items) - 1)
        return found

    def finish(self, work: Work, results: list[Any]) -> list[Reply]:
        """The replies of one piece of work, once all its items have a result."""
        try:
            for result in results:
                if isinstance(result, Failed):
                    return [work.refuse(work.number, explain(work.number, result.error))]
            return work.finish(results)
        except Exception as error:  # what cannot be sent must not take the replica down
            return [work.refuse(work.number, explain(work.number, error))]

    def answer_batch(self, requests: list[Request]) -> list[Reply]:
        """All in one go; `requests` may be of several protocols and share one call."""
        replies: list[Reply] = []
        items, works = self.gather(requests, replies)
        if items:
            self.settle(works, batching.run(items, self.contract, self.model.max_batch), replies)
        return replies

    def gather(self, requests: list[Request], replies: list[Reply]) -> tuple[list[Any], list[Any]]:
        """The items of all requests, and what they belong to; what needs no call is answered into `replies`."""
        items: list[Any] = []
        works: list[Any] = []  # a Work, or the number of a plain request, whose one item needs none
        native: list[Request] = []
        decode = self.contract.decode
        for request in requests:
            if request.verb == PREDICT:
                try:
                    items.append(decode(request.body, request.meta))
                    works.append(request.id)
                except Reject as error:
                    replies.append(refusal(request.id, error))
                except Exception as error:  # the user's own validators
                    replies.append(failure(request.id, error))
            elif request.verb == INFER and self._tensors is None:
                native.append(request)
            else:
                self._take(self.expand(request), items, works, replies)
        if native:
            replies += self._answer_tensors(native)
        return items, works

    def settle(self, works: list[Any], results: list[Any], replies: list[Reply]) -> None:
        """Hands each work its results."""
        at = 0
        encode = self.contract.encode
        for work in works:
            if type(work) is int:
                result = results[at]
                at += 1
                replies.append(failure(work, result.error) if type(result) is Failed else whole(work, result, encode))
            else:
                count = len(work.items)
                replies += self.finish(work, results[at : at + count])
                at += count

    def answer_items(self, requests: list[Request], send: Callable[[list[Reply]], None]) -> list[Reply]:
        """One item after the other. What is known goes out early when the model is slow; the rest is returned."""
        replies: list[Reply] = []
        contract = self.contract
        decode, call, encode = contract.decode, contract.call, contract.encode
        flushed = perf_counter()
        for request in requests:
            if request.verb == PREDICT:
                try:
                    replies.append(whole(request.id, call(decode(request.body, request.meta)), encode))
                except Reject as error:
                    replies.append(refusal(request.id, error))
                except (Exception, SystemExit) as error:  # the user's
                    replies.append(failure(request.id, error))
            else:
                work = self.expand(request)
                if isinstance(work, Work):
                    replies += self.finish(work, [self.outcome(item) for item in work.items])
                else:
                    replies.append(work)
            now = perf_counter()
            if now - flushed > _FLUSH_S:
                send(replies)
                replies, flushed = [], perf_counter()
        return replies

    def outcome(self, item: Any) -> Any:
        try:
            return self.contract.call(item)
        except (Exception, SystemExit) as error:  # the user's
            return Failed(error)

    def _expanded(self, request: Request) -> Union[Work, Reply]:
        refuse = refusal_of(request.verb)
        try:
            if request.verb == PREDICT:
                return plain.expand(request, self.contract)
            if request.verb == INFER and self._tensors is not None:
                return self._tensors.expand(request)
            if request.verb == CHAT and self._chat is not None:
                return self._chat.expand(request)
            if request.verb == EMBED and self._embeddings is not None:
                return self._embeddings.expand(request)
        except Exception as error:  # decoding may run the user's own validators; also Reject
            return refuse(request.id, explain(request.id, error))
        return refuse(request.id, Reject("this service does not speak that protocol", status=404, code="NOT_OFFERED"))

    def _take(self, work: Union[Work, Reply], items: list[Any], works: list[Any], replies: list[Reply]) -> None:
        if isinstance(work, Work):
            items += work.items
            works.append(work)
        else:
            replies.append(work)

    def _answer_tensors(self, requests: list[Request]) -> list[Reply]:
        model = self.model.tensors
        assert model is not None  # noqa: S101 - for the type checker: only called when there is one
        return [
            found if isinstance(found, Reply) else inference.refuse(number, explain(number, found))
            for number, found in inference.answer_natively(requests, model, self._name, self.further)
        ]


def refusal_of(verb: int) -> Refuse:
    if verb == INFER:
        return inference.refuse
    return chat.refuse if verb in (CHAT, EMBED) else refusal
