"""Bringing a model up: what happens in the zygote before the fork, and what in each replica after it.

The point of a zygote is that importing and loading happen once and their pages are shared. What survives a fork and
what does not, by framework:

* Python objects, numpy arrays, mapped files: survive, and stay shared as long as nobody writes to them.
* Native threads do not survive; a library that has started some and waits for them in the child hangs. So before
  anything is imported every pool is set to one thread (`spec.MODEL_ENVIRONMENT`): with one thread, OpenBLAS, MKL,
  OpenMP (and so scikit-learn), numexpr and tokenizers start none. It is also the right number: replicas are the
  parallelism.
* OpenBLAS could stop and restart its pool around a fork; GNU OpenMP cannot: a parallel region before the fork and
  another one after it deadlock. Raising OMP_NUM_THREADS above one therefore needs preload = "imports".
* onnxruntime: a session with one intra-op and one inter-op thread runs in the calling thread and survives; a larger
  pool does not. Our ONNX loader makes such sessions; in a user's own class SessionOptions decide.
* PyTorch: loading (and running, with torch.set_num_threads(1) before the first operation) survives. Autograd's own
  thread starts only with backward().
* CUDA does not survive: a context made before the fork is an error in the child. Where PyTorch finds a device
  (asked through NVML, which makes no context), or the service has one, `load` runs after the fork. The same for
  TensorFlow and JAX, whose runtimes start threads when first used.
* Connections, files opened for writing and running event loops are shared by the forks in ways that nobody wants: a
  class that opens any in `load` sets `preload = "imports"`. `async def load` always runs after the fork.
* Random state is copied: the zygote reseeds `numpy.random` in each replica where it is imported; Python reseeds
  `random` by itself, we torch.

What slips through is caught by the zygote: when native threads are alive after loading, or a GPU is held, it starts
over and loads after the fork; when importing alone does that, it imports after the fork, too.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import os
import sys
from typing import Any, Optional

from bough.runtime import estimators, failures, schema, verified
from bough.runtime.failures import LoadError
from bough.runtime.frames import Signature
from bough.runtime.items import Contract, SignatureUnsupported
from bough.runtime.loaders import TensorModel
from bough.runtime.loaders.opening import open_file
from bough.runtime.spec import MODEL_ENVIRONMENT, Failure, ModelSpec

ITEM, BATCH, CONCURRENT = "item", "batch", "concurrent"
DEFAULT_CONCURRENCY = 64
_ITEMS_PER_FRAME = 32  # for models that take one item: what travels together; slow ones answer early all the same
_LOAD_AFTER_FORK = ("tensorflow", "jax")


class Prepared:
    """A model on its way: imported (unless `preload` is `none`), and loaded when `loaded`. Forks cheaply; holds no
    thread, socket or open file."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.loaded = False
        self.instance: Any = None
        self._imported = False
        self._target: Any = None
        self._model: Optional[Model] = None
        if spec.preload != "none":
            self.bring_in()

    def bring_in(self) -> None:
        """Imports the user's code, once."""
        if not self._imported and not self.spec.reference.startswith("file:"):
            self._target = import_target(self.spec)
        self._imported = True

    @property
    def async_load(self) -> bool:
        return inspect.iscoroutinefunction(getattr(self._target, "load", None))

    def load(self) -> None:
        """Makes the instance and runs its `load`; an `async def load` is left to `load_async`."""
        if self.loaded:
            return
        self.bring_in()
        _keep_to_share()
        for model in self.spec.models.values():
            verified.check(model)
        self._make()
        if not self.async_load:
            if callable(load := getattr(self.instance, "load", None)) and self._target is not None:
                load()
            self._has_loaded()

    async def load_async(self) -> None:
        if not self.loaded:
            await self.instance.load()
            self._has_loaded()

    def model(self) -> Model:
        """What answers requests, the same each time. After `load`; with an async load, before `load_async`."""
        if self._model is None:
            self._model = Model(self.spec, self.instance)
        return self._model

    def signature(self) -> Signature:
        """Works without `load` for a class; a model file is opened."""
        if self._target is None:
            self.load()
        return (self.model() if self.instance is not None else Model(self.spec, self._target)).signature

    def _has_loaded(self) -> None:
        self.loaded = True
        if not self.spec.direct or self._target is None:  # a file does so by itself
            return
        if kinds := ", ".join(sorted({type(each).__name__ for each in estimators.all_direct()})):
            print(f"bough: {kinds} worked out directly, equal to the last bit; direct = false asks scikit-learn")

    def _make(self) -> None:
        if self.instance is None:
            if self._target is None:
                self.instance = open_file(self.spec)
            else:
                self.instance = self._target() if inspect.isclass(self._target) else self._target
                with contextlib.suppress(AttributeError):  # a class with slots has the variables
                    self.instance.models = {name: each.folder for name, each in self.spec.models.items()}


class Model:
    """A loaded model with everything about it that does not change between requests."""

    def __init__(self, spec: ModelSpec, instance: Any) -> None:
        self.spec = spec
        self.instance = instance
        predict = getattr(instance, "predict", None)
        if predict is None:
            predict = instance
        self.contract = Contract(predict)
        self.tensors: Optional[TensorModel] = instance if isinstance(instance, TensorModel) else None
        self.openai = spec.openai
        contract = self.contract
        if contract.is_async or contract.streams:
            self.mode = CONCURRENT
        else:
            self.mode = BATCH if contract.batch else ITEM
        self.concurrency = (spec.concurrency or DEFAULT_CONCURRENCY) if self.mode == CONCURRENT else 1
        declared = contract.batch or (self.concurrency if self.mode == CONCURRENT else _ITEMS_PER_FRAME)
        self.max_batch = spec.max_batch or declared
        if self.openai == "chat" and contract.batch:
            raise SignatureUnsupported('a service with openai = "chat" takes one conversation: remove @bough.batch')
        if self.openai == "embeddings" and contract.streams:
            raise SignatureUnsupported('a service with openai = "embeddings" returns list[float] and cannot stream')

    @functools.cached_property
    def signature(self) -> Signature:
        return signature(self)


def prepare(spec: ModelSpec) -> Prepared:
    """Imports the user's code and, where that survives a fork, loads the model. Raises `LoadError`, whose cause is
    what happened."""
    for name, value in MODEL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    try:
        os.chdir(spec.folder)
        if spec.folder not in sys.path:
            sys.path.insert(0, spec.folder)
        prepared = Prepared(spec)
        if loads_before_fork(spec, prepared):
            prepared.load()
        if spec.preload != "none":
            prepared.signature()  # a predict that cannot be served is told now
        return prepared
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise as_load_error(error, spec) from error


def loads_before_fork(spec: ModelSpec, prepared: Prepared) -> bool:
    if spec.preload not in ("auto", "model") or prepared.async_load:
        return False
    if getattr(prepared._target, "preload", "auto") == "imports":
        return False
    if any(name in sys.modules for name in _LOAD_AFTER_FORK):
        return False
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        return not torch.cuda.is_available()
    return True


def _keep_to_share() -> None:
    """Where a replica has a part of a GPU, PyTorch takes no more of its memory: who takes too much fails by itself,
    and not its neighbours."""
    torch, share = sys.modules.get("torch"), float(os.environ.get("BOUGH_GPU_SHARE", "0"))
    if torch is not None and share:
        with contextlib.suppress(RuntimeError, AssertionError):  # made-up devices, or PyTorch without CUDA
            torch.cuda.set_per_process_memory_fraction(share)


def describe_failure(error: BaseException, spec: ModelSpec) -> Failure:
    cause = error.__cause__ if isinstance(error, LoadError) and error.__cause__ is not None else error
    return failures.describe(cause, spec)


def as_load_error(error: BaseException, spec: ModelSpec) -> LoadError:
    if isinstance(error, LoadError):
        return error
    failure = failures.describe(error, spec)
    return LoadError(failure.code, failure.message, failure.hint)


def signature(model: Model) -> Signature:
    """What a model takes and gives, as far as its types or its file say."""
    contract, tensors = model.contract, model.tensors
    return Signature(
        mode=model.mode, streams=contract.streams, openai=model.openai,
        input=schema.of_rows(tensors.inputs, "input") if tensors else contract.input_schema,
        output=schema.of_rows(tensors.outputs, "output") if tensors else contract.output_schema,
        inputs=tensors.inputs if tensors else schema.input_tensors(contract),
        outputs=tensors.outputs if tensors else schema.output_tensors(contract),
        platform=tensors.platform if tensors else "python",
    )  # fmt: skip


def import_target(spec: ModelSpec) -> Any:
    """The class (or function) that `module:Class` names."""
    module_name, _, path = spec.reference.partition(":")
    module = importlib.import_module(module_name)
    target: Any = module
    for part in path.split("."):
        if not hasattr(target, part):
            classes = [
                name for name, value in vars(module).items() if inspect.isclass(value) or inspect.isfunction(value)
            ]
            near = difflib.get_close_matches(part, classes, 1) or [
                n for n in classes if hasattr(vars(module)[n], "predict")
            ]
            meant = (
                f"did you mean {module_name}:{near[0]}?" if near else f"it defines {', '.join(classes) or 'no class'}"
            )
            raise LoadError(
                "CLASS_MISSING", f"module {module_name!r} has no {part!r}; {meant}", "edit model in bough.toml"
            )
        target = getattr(target, part)
    if not callable(getattr(target, "predict", None)) and not inspect.isfunction(target):
        raise LoadError(
            "CLASS_MISSING", f"{spec.reference} has no method predict", "write def predict(self, item): ..."
        )
    return target
