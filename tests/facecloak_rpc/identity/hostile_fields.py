"""Messages whose every field may hold what somebody would put there who means harm. Made by their descriptors, so that
a field of a later release is tried as well."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_NUMBERS = (0, -1, 1, 2**31 - 1, -(2**31), 16, 17, 65)
_LONG_NUMBERS = (*_NUMBERS, 2**63 - 1, -(2**63), 253_402_300_800)  # the last one is in the year 10000
_FLOATS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), float("-inf"), 24.0, 47.9)
_MOST_REPEATED = 70


class HostileFields:
    """Fills messages at random."""

    def __init__(self, source: random.Random, *, texts: Sequence[str], contents: Sequence[bytes]) -> None:
        """``texts`` for fields of text, ``contents`` for those of bytes."""
        self._random = source
        self._texts = texts
        self._contents = contents

    def change(self, message: Message, *, keep: Sequence[str] = ()) -> None:
        """Sets one to three fields of ``message``, or of what is in it, but for those to ``keep``."""
        fields = [one for one in message.DESCRIPTOR.fields if one.name not in keep]
        for field in self._random.sample(fields, k=min(len(fields), self._random.randint(1, 3))):
            if field.is_repeated:
                message.ClearField(field.name)
                values = getattr(message, field.name)
                for _ in range(self._random.choice((0, 1, 2, _MOST_REPEATED))):
                    if field.message_type is not None:
                        self.change(values.add())
                    else:
                        values.append(self._value(field))
            elif field.message_type is not None:
                self.change(getattr(message, field.name))
                getattr(message, field.name).SetInParent()
            else:
                setattr(message, field.name, self._value(field))

    def _value(self, field: FieldDescriptor) -> Any:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_STRING:
            source = self._contents if field.type == FieldDescriptor.TYPE_BYTES else self._texts
            return self._random.choice(source)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self._random.random() < 0.5
        if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
            return self._random.choice(_FLOATS)
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return self._random.choice((0, 1, 2, 99))
        if kind == FieldDescriptor.CPPTYPE_UINT64 or kind == FieldDescriptor.CPPTYPE_UINT32:
            return self._random.choice((0, 1, 2**32 - 1))
        return self._random.choice(_LONG_NUMBERS if kind == FieldDescriptor.CPPTYPE_INT64 else _NUMBERS)
