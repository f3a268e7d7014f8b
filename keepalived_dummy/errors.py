# SPDX-License-Identifier: MIT
"""What a user can mend. Any other exception is a bug and may trace back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in one file. `line` counts from 1; 0 stands for the file as a whole."""

    path: str
    line: int
    message: str

    @property
    def where(self) -> str:
        """FILE:LINE, or FILE."""
        return f"{self.path}:{self.line}" if self.line else self.path

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class UserError(Exception):
    """Ends a command with a message, and with a hint of what to do about it where there is one."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message
