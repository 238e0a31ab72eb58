# SPDX-License-Identifier: Apache-2.0
"""The two ways to refuse."""


class Damaged(Exception):
    """The bytes contradict the specification."""


class Unsupported(Exception):
    """Well-formed, but of a version or codec that this decoder does not know."""


def require(condition, message):
    if not condition:
        raise Damaged(message)
