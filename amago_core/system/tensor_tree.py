"""Nested dictionaries of tensors as safetensors bytes, and back.

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

_DEEPEST = 32

_LONGEST_HEADER = 10_000_000

_LENGTH_BYTES = 8


def encode_tree(tree: Mapping[str, Tensor | TensorTree]) -> bytes:
    """Return a tree as safetensors bytes; the same tree always gives the same bytes.

    Tensors may share memory and be on any device; each is stored on its own.

    Raises:
        ValueError: If a key is empty or holds the separator.
        TypeError: If a key is no string, or a leaf no tensor.
    """
    data: bytes = save(_separate(dict(_leaves(tree, ""))))
    return data


def decode_tree(data: bytes) -> TensorTree:
    """Return the tree that `encode_tree` was given, on the CPU.

    Raises:
        ValueError: If the bytes are not such a tree; nothing in them is ever executed.
    """
    # Names cost more memory than bytes on the disk: a header of nothing but names would fill it.
    if int.from_bytes(data[:_LENGTH_BYTES], "little") > _LONGEST_HEADER:
        raise ValueError("not a tree of tensors: its header is longer than that of any agent")
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
        if prefix.count(SEPARATOR) > _DEEPEST:
            raise ValueError(f"'{prefix}' lies deeper than the {_DEEPEST} keys that are stored")
        if not isinstance(key, str):
            raise TypeError(f"the key {key!r} below '{prefix}' is no string")
        if not key or SEPARATOR in key:
            raise ValueError(f"the key {key!r} below '{prefix}' is empty or holds a '{SEPARATOR}'")
        if isinstance(node, Mapping):
            yield from _leaves(node, f"{prefix}{key}{SEPARATOR}")
        elif isinstance(node, Tensor):
            yield f"{prefix}{key}", node.detach().cpu().contiguous()
        else:
            raise TypeError(f"'{prefix}{key}' is a {type(node).__name__}, not a tensor")


def _separate(flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy the tensors that share memory with one before; safetensors refuses those."""
    seen: set[int] = set()
    separate = {}
    for path, tensor in flat.items():
        memory = tensor.untyped_storage().data_ptr()
        separate[path] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return separate


def _insert(tree: TensorTree, path: str, tensor: Tensor) -> None:
    *parents, key = path.split(SEPARATOR)
    if len(parents) > _DEEPEST:
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
