# SPDX-License-Identifier: MIT
"""`python3 -m keepalived_dummy` is the command keepalived-dummy."""

import sys

from keepalived_dummy.cli import main

sys.exit(main())
