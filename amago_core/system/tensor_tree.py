"""Tensor trees: nested dictionaries of tensors, serialized as safetensors.

The path of a tensor is its keys joined by ``/``. An empty dictionary becomes an empty tensor whose path
ends with ``/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

TensorTree: TypeAlias = dict[str, "Tensor | TensorTree"]
"""Nested dictionaries with string keys and tensors as leaves."""

SEPARATOR = "/"

_MAX_DEPTH = 32

_MAX_HEADER_BYTES = 10_000_000

_LENGTH_BYTES = 8


def encode_tree(tree: Mapping[str, Tensor | TensorTree]) -> bytes:
    """Serialize a tree as safetensors bytes, deterministically.

    Tensors may share memory and be on any device; each is stored separately.

    Raises:
        ValueError: If a key is empty or holds the separator.
        TypeError: If a key is not a string, or a leaf is not a tensor.
    """
    data: bytes = save(_without_shared_memory(dict(_leaves(tree, ""))))
    return data


def decode_tree(data: bytes) -> TensorTree:
    """Deserialize a tree from the bytes of `encode_tree`, on the CPU.

    Raises:
        ValueError: If the bytes are not such a tree; no code in them is ever executed.
    """
    # A parsed name takes more memory than its bytes on disk: a huge header would exhaust the memory.
    if int.from_bytes(data[:_LENGTH_BYTES], "little") > _MAX_HEADER_BYTES:
        raise ValueError(
            f"not a tree of tensors: its header is longer than {_MAX_HEADER_BYTES:,} bytes"
        )
    try:
        flat = load(data)
    except KeyError as error:
        raise ValueError(f"not a tree of tensors: torch has no type {error}") from None
    except (SafetensorError, RuntimeError, TypeError, OverflowError, AssertionError) as error:
        raise ValueError(f"not a tree of tensors: {error}") from None
    tree: TensorTree = {}
    for path, tensor in flat.items():
        if path != SEPARATOR:
            _insert(tree, path, tensor)
    return tree


def _leaves(tree: Mapping[str, Tensor | TensorTree], prefix: str) -> Iterator[tuple[str, Tensor]]:
    if not tree:
        yield prefix or SEPARATOR, torch.empty(0, dtype=torch.uint8)
    for key, node in tree.items():
        if prefix.count(SEPARATOR) > _MAX_DEPTH:
            raise ValueError(f"'{prefix}' is nested deeper than {_MAX_DEPTH} keys")
        if not isinstance(key, str):
            raise TypeError(f"the key {key!r} below '{prefix}' is not a string")
        if not key or SEPARATOR in key:
            raise ValueError(f"the key {key!r} below '{prefix}' is empty or holds a '{SEPARATOR}'")
        if isinstance(node, Mapping):
            yield from _leaves(node, f"{prefix}{key}{SEPARATOR}")
        elif isinstance(node, Tensor):
            yield f"{prefix}{key}", node.detach().cpu().contiguous()
        else:
            raise TypeError(f"'{prefix}{key}' is a {type(node).__name__}, not a tensor")


def _without_shared_memory(flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory with an earlier one, which safetensors does not allow."""
    seen: set[int] = set()
    separate = {}
    for path, tensor in flat.items():
        memory = tensor.untyped_storage().data_ptr()
        separate[path] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return separate


def _insert(tree: TensorTree, path: str, tensor: Tensor) -> None:
    *parents, key = path.split(SEPARATOR)
    if len(parents) > _MAX_DEPTH:
        raise ValueError(f"not a tree of tensors: a path of {len(parents) + 1} keys is too long")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {}) if parent else None
        if not isinstance(child, dict):
            raise ValueError(f"not a tree of tensors: '{path}' cannot be a path")
        node = child
    if key in node or (not key and (node or tensor.numel())):
        raise ValueError(f"not a tree of tensors: '{path}' cannot be a path")
    if key:
        node[key] = tensor
