# SPDX-License-Identifier: MIT
"""The same examples at every run: a build does not fail by the draw. HYPOTHESIS_PROFILE=search draws anew."""

import os

from hypothesis import settings

# No deadline: the machine may be busy.
settings.register_profile("build", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "build"))
