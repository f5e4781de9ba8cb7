/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log's sink for tests that do not look at the log.
 *
 * Threading: any.   Memory: none.
 */
#ifndef TESTS_COMMON_NO_LOG_H
#define TESTS_COMMON_NO_LOG_H

#include "base/log.h"

static inline void no_log(struct log *log, enum log_level level, const char *line)
{
    (void)log;
    (void)level;
    (void)line;
}

#endif
