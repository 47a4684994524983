# SPDX-License-Identifier: BSD-2-Clause
"""From records to statistics, figures and a report. Reads run directories; writes nothing but its report."""
