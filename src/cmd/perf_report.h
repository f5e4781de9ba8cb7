/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `trilith perf` prints: the results as text or JSON, and the line of progress.
 *
 * Threading: the main thread.   Memory: no state.
 */
#ifndef CMD_PERF_REPORT_H
#define CMD_PERF_REPORT_H

#include "cmd/perf_options.h"
#include "cmd/perf_run.h"

/* On standard output.  failed: the run did not do what it was asked to. */
void perf_report(const struct perf_options *options, const struct perf_stats *stats, bool failed);

/* One line on standard error, over the last one. */
void perf_report_progress(const struct perf_stats *now, const struct perf_stats *before);

/* Clears that line. */
void perf_report_progress_end(void);

#endif
