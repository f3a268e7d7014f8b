# SPDX-License-Identifier: MIT
"""keepalived-dummy: virtual IP addresses that outlive networkd."""

__version__ = "0.1.0"
