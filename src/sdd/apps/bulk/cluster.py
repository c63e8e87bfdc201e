"""The scaling engine: Ray Data, on this machine or on a cluster; a block is one task, a few hundred bytes of paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from sdd.apps.bulk.task import Report, Task
from sdd.apps.bulk.work import Order, Worker
from sdd.errors import SddError, one_line
