"""`python -m ifa_fusion`: the command line."""

import sys

from ifa_fusion.cli import main

sys.exit(main())
