# SPDX-License-Identifier: MIT
"""The same examples at every run: a build does not fail by the draw. HYPOTHESIS_PROFILE=search draws anew."""

import os

from hypothesis import settings

settings.register_profile("build", derandomize=True)
settings.register_profile("search")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "build"))
