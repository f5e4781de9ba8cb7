/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines, and the context strings that an error collects on its way outward.
 *
 * Libraries never log above debug, except who stops an error from travelling: it logs it once,
 * with who and what.  Where a line goes is the sink's choice: the command's sink writes to
 * standard error, the simulator's to the trace.
 *
 * Threading: log_write() may be called from any thread; sinks are thread-safe.
 * Memory:    a line longer than LOG_LINE_BYTES is cut.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>
#include <stdint.h>

#define LOG_LINE_BYTES 512

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log {
    enum log_level level; /* Lines above it are dropped before they are formatted. */
    void (*sink)(struct log *log, enum log_level level, const char *line);
    void *ctx; /* The sink's. */
};

void log_write(struct log *log, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(log, ...)   log_write((log), LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(log, ...) log_write((log), LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(log, ...)    log_write((log), LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...)                                 \
    do {                                                    \
        if ((log)->level >= LOG_LEVEL_DEBUG)                \
            log_write((log), LOG_LEVEL_DEBUG, __VA_ARGS__); \
    } while (0)

/* "error", "warning", "info" or "debug". */
const char *log_level_name(enum log_level level);

#endif
