# SPDX-License-Identifier: BSD-2-Clause
"""The reproduction: published claims, what to run for each, and verdicts computed from records."""
