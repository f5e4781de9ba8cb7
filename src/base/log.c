/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <assert.h>
#include <stdio.h>

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = { "error", "warning", "info", "debug" };
    assert((unsigned)level < sizeof names / sizeof names[0]);
    return names[level];
}

void log_write(struct log *log, enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_BYTES];
    va_list args;
    if (level > log->level)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log->sink(log, level, line);
}
